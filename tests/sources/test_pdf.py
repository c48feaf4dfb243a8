"""PDF: text, outline, and files that are damaged, empty or encrypted."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.sources import Selection, SkippedFile, read_source
from mbert_retrieval.sources.pdf import read_pdf
from support.pdf import pdf

PAGES = [["Front matter"], ["How to install", "Run the installer."], [], ["It costs 5 \\(five\\)."]]


@pytest.mark.parametrize("deflated", [False, True])
def test_a_pdf_gives_its_pages_and_outline(tmp_path, deflated):
    (tmp_path / "a.PDF").write_bytes(pdf(PAGES, [("Install", 1), ("Price list", 3)], deflated))
    passages = list(read_source(tmp_path, []))
    assert [(" ".join(p.text.split()), p.title) for p in passages] == [
        ("Front matter", "page 1"),
        ("How to install Run the installer.", "Install > page 2"),
        ("It costs 5 (five).", "Price list > page 4"),
    ]
    assert {p.metadata["language"] for p in passages} == {"pdf"}
    assert {p.path for p in passages} == {"a.PDF"}
    (whole,) = read_source(tmp_path, [], selection=Selection(documents="whole"))
    assert whole.text.split() == " ".join(p.text for p in passages).split()


def test_a_pdf_without_text_or_in_pieces_is_skipped_with_a_reason(tmp_path):
    good = pdf(PAGES)
    (tmp_path / "empty.pdf").write_bytes(pdf([[], []]))
    (tmp_path / "none.pdf").write_bytes(b"")
    (tmp_path / "noise.pdf").write_bytes(b"\x00\xff" * 500)
    (tmp_path / "text.pdf").write_text("not a PDF at all")
    (tmp_path / "half.pdf").write_bytes(good[: len(good) // 3])
    (tmp_path / "good.pdf").write_bytes(good)
    skipped: list[SkippedFile] = []
    passages = list(read_source(tmp_path, skipped))
    assert {p.path for p in passages} == {"good.pdf"}
    reasons = {Path(one.path).name: one.reason for one in skipped}
    assert reasons.pop("empty.pdf") == "PDF without text"
    assert set(reasons) == {"none.pdf", "noise.pdf", "text.pdf", "half.pdf"}
    for reason in reasons.values():
        assert reason.startswith(("damaged PDF (", "PDF without text"))
        assert "\n" not in reason
    with pytest.raises(InputError, match=r"cannot index .*noise\.pdf: damaged PDF"):
        list(read_source(tmp_path / "noise.pdf", []))


def test_an_encrypted_pdf_is_skipped_unless_it_opens_without_a_password(tmp_path):
    pypdf = pytest.importorskip("pypdf")
    for name, password in [("open.pdf", ""), ("shut.pdf", "secret")]:
        writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(PAGES)))
        writer.encrypt(user_password=password, owner_password="owner", algorithm="RC4-128")
        writer.write(tmp_path / name)
    skipped: list[SkippedFile] = []
    assert {p.path for p in read_source(tmp_path, skipped)} == {"open.pdf"}
    assert [one.reason for one in skipped] == ["encrypted PDF"]


def test_a_nested_outline_names_the_passages(tmp_path):
    pypdf = pytest.importorskip("pypdf")
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf([["a"], ["b"], ["c"]])))
    chapter = writer.add_outline_item(title="Chapter", page_number=0)
    writer.add_outline_item(title="Section", page_number=1, parent=chapter)
    writer.add_outline_item(title="Next", page_number=2)
    writer.write(tmp_path / "a.pdf")
    titles = [passage.title for passage in read_source(tmp_path)]
    assert titles == ["Chapter > page 1", "Chapter > Section > page 2", "Next > page 3"]


def test_headings_are_on_the_first_line_of_their_page():
    lines, headings = read_pdf(pdf([["a", "b"], ["c"], ["d"]], [("C", 1)]))
    starts = {h.title: next(filter(str.strip, lines[h.line - 1 :])).strip() for h in headings}
    assert starts == {"page 1": "a", "C": "c", "page 2": "c", "page 3": "d"}
