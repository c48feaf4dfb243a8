"""HTML, PDF, windows of prose and hostile files: the expected passages are written by hand."""

from __future__ import annotations

import io
import subprocess
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval import InputError
from mbert_retrieval.sources import Selection, SkippedFile, read_source
from mbert_retrieval.sources.html import read_html
from mbert_retrieval.sources.prose import MAX_WORDS, OVERLAP_WORDS
from mbert_retrieval.sources.split import split_into_passages

# HTML

PAGE = """<!DOCTYPE html>
<html><head><title>The &amp; Page</title>
<style>p { color: red }</style>
<script>var hidden = "<p>no</p>";</script>
</head><body>
<nav>Home | <a href="/">Up</a></nav>
<h1>Install<br>it</h1>
<p>Run <b>pip</b>&nbsp;install, caf&eacute; &lt;now&gt;.</p>
<!-- a remark -->
<h2 id=x>On <code>Linux</code></h2>
<ul><li>one</li><li>two</li></ul>
<table><tr><td>a</td><td>b</td></tr></table>
<h2></h2>
<pre>x = 1
  y = 2</pre>
<h1>Use</h1>
un<em>brok</em>en <noscript>off</noscript> <svg><text>drawn</text></svg> &#128640;
</body></html>
"""


def test_html_is_what_a_reader_sees():
    lines, headings = read_html(PAGE)
    assert len(lines) == PAGE.count("\n") + 1
    assert {number: line for number, line in enumerate(lines, start=1) if line} == {
        2: "The & Page",
        7: "Install it",
        8: "Run pip install, café <now>.",
        10: "On Linux",
        11: "one two",
        12: "a b",
        14: "x = 1",
        15: "y = 2",
        16: "Use",
        17: "unbroken \N{ROCKET}",
    }
    assert headings == [
        (2, 0, "The & Page"),
        (7, 1, "Install it"),
        (10, 2, "On Linux"),
        (16, 1, "Use"),
    ]


def test_html_is_cut_at_its_headings():
    found = [(p.start_line, p.end_line, p.title) for p in split_into_passages(PAGE, "a.html")]
    assert found == [
        (2, 2, "The & Page"),
        (7, 8, "The & Page > Install it"),
        (10, 15, "The & Page > Install it > On Linux"),
        (16, 17, "The & Page > Use"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<p>open <b>never closed", "open never closed"),
        ("</div></p>closed <i>never open</b>", "closed never open"),
        ("a < b and c > d & e", "a < b and c > d & e"),
        ("<h1>one<h2>two</h1> three", "one two three"),
        ("<![CDATA[x]]> y", "y"),
        ("<script>if (a</b) {}</script>z", "z"),
        ("<p>before<script>never closed", "before"),
        ("<svg/>seen", "seen"),
        ("<svg><path d=''/></svg>seen", "seen"),
        ("<template><nav>x</nav></template>seen", "seen"),
        ("<nav><div>x</div></nav>seen", "seen"),
        ("<nav>x<nav>y</nav>z</nav>seen", "seen"),
        ("<div><nav>x</div>seen", "x seen"),
    ],
)
def test_broken_html_loses_no_more_than_it_must(text, words):
    lines, _ = read_html(text)
    assert " ".join(lines).split() == words.split()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["<p>", "</p>", "<h1>", "</h2>", "<nav>", "</nav>", "<!--", "-->", "<![", "]]>", "<?",
             ">", "<script>", "</script>", "<svg/>", "&", "&#x;", "&#1114112;", "\n", "\x00", "a",
             "<a b='"]
        ),
        max_size=30,
    ).map("".join)
)  # fmt: skip
def test_any_html_is_read(text):
    lines, headings = read_html(text)
    assert len(lines) == text.count("\n") + 1
    assert all(1 <= line <= len(lines) and title for line, _, title in headings)
    list(split_into_passages(text, "a.html"))


# PDF


def pdf(
    pages: list[list[str]], outline: list[tuple[str, int]] = (), deflated: bool = False
) -> bytes:
    """A PDF written by hand: lines of text a page, and entries (title, page) of its outline."""
    first, count = 4, len(pages)
    objects = {3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"}
    kids = " ".join(f"{first + 2 * n} 0 R" for n in range(count))
    objects[2] = f"<< /Type /Pages /Kids [{kids}] /Count {count} >>".encode()
    for number, lines in enumerate(pages):
        shown = " ".join(f"({line}) Tj 0 -20 Td" for line in lines)
        stream = f"BT /F1 12 Tf 72 720 Td {shown} ET".encode("latin-1")
        packing = b""
        if deflated:
            stream, packing = zlib.compress(stream), b"/Filter /FlateDecode "
        page = first + 2 * number
        objects[page] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {page + 1} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        ).encode()
        head = b"<< %b/Length %d >>" % (packing, len(stream))
        objects[page + 1] = head + b"\nstream\n" + stream + b"\nendstream"
    after = first + 2 * count
    catalogue = "/Type /Catalog /Pages 2 0 R"
    if outline:
        last = after + len(outline)
        catalogue += f" /Outlines {after} 0 R"
        objects[after] = (
            f"<< /First {after + 1} 0 R /Last {last} 0 R /Count {len(outline)} >>".encode()
        )
        for number, (title, page) in enumerate(outline, start=after + 1):
            following = f"/Next {number + 1} 0 R " if number < last else ""
            objects[number] = (
                f"<< /Title ({title}) /Parent {after} 0 R {following}"
                f"/Dest [{first + 2 * page} 0 R /Fit] >>"
            ).encode()
    objects[1] = f"<< {catalogue} >>".encode()
    file = io.BytesIO()
    file.write(b"%PDF-1.4\n")
    places = []
    for number in sorted(objects):
        places.append(file.tell())
        file.write(b"%d 0 obj\n%b\nendobj\n" % (number, objects[number]))
    table = file.tell()
    file.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1))
    file.writelines(b"%010d 00000 n \n" % place for place in places)
    file.write(b"trailer << /Size %d /Root 1 0 R >>\n" % (len(places) + 1))
    file.write(b"startxref\n%d\n%%%%EOF\n" % table)
    return file.getvalue()


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


# Windows


@given(st.integers(1, 1500))
@settings(max_examples=60, deadline=None)
def test_one_endless_line_is_read_in_windows_that_overlap(count):
    words = [f"w{n}" for n in range(count)]
    pieces = [p.text.split() for p in split_into_passages(" ".join(words), "a.txt")]
    assert pieces[0][0] == "w0"
    assert pieces[-1][-1] == words[-1]
    if count <= 2 * MAX_WORDS:
        assert pieces == [words]
        return
    assert all(len(piece) <= MAX_WORDS for piece in pieces)
    for before, after in pairwise(pieces):
        assert before[-OVERLAP_WORDS:] == after[:OVERLAP_WORDS]
    assert len({p.id for p in split_into_passages(" ".join(words), "a.txt")}) == len(pieces)


@given(st.lists(st.integers(0, 90), min_size=1, max_size=40))
@settings(max_examples=80, deadline=None)
def test_windows_of_prose_are_full_and_repeat_little(counts):
    """counts: of words a line; 0 is a blank line."""
    lines = [" ".join(f"l{n}w{m}" for m in range(count)) for n, count in enumerate(counts)]
    pieces = list(split_into_passages("\n".join(lines), "a.txt"))
    for before, after in pairwise(pieces):
        repeated = lines[after.start_line - 1 : before.end_line]
        assert before.start_line < after.start_line
        assert before.end_line < after.end_line
        assert len(" ".join(repeated).split()) <= OVERLAP_WORDS
        together = lines[before.start_line - 1 : after.end_line]
        assert len(" ".join(together).split()) > MAX_WORDS
    assert all(len(p.text.split()) <= MAX_WORDS for p in pieces)
    read = {word for p in pieces for word in p.text.split()}
    assert read == set(" ".join(lines).split())


# Files that nobody wrote, and that nobody can read


def test_generated_and_minified_files_are_skipped_and_their_likes_are_not(tmp_path):
    minified = "function f(){return 1};" * 300
    files = {
        "gen.go": "// Code generated by protoc-gen-go. DO NOT EDIT.\npackage x\n",
        "gen.py": "# Generated by the protocol buffer compiler.  DO NOT EDIT!\nx = 1\n",
        "gen.js": "/** @generated */\nvar x = 1;\n",
        "late.py": "x = 1\n" * 300 + "# @generated by hand\n",
        "about.md": "# Generated code\n\nHow code is generated by tools.\n",
        "Cargo.lock": "[[package]]\n",
        "lock.py": "x = 1\n",
        "app.min.js": minified.replace(";", ";\n"),
        "app.js": minified,
        "small.min.js": "var x=1;",
        "long.md": "word " * 2000,
        "style.css": "a{b:c}" * 600,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    skipped: list[SkippedFile] = []
    taken = {p.path for p in read_source(tmp_path, skipped)}
    assert {Path(one.path).name: one.reason for one in skipped} == {
        "gen.go": "generated",
        "gen.py": "generated",
        "gen.js": "generated",
        "Cargo.lock": "generated (a lock file)",
        "app.min.js": "minified",
        "app.js": "minified",
        "style.css": "minified",
    }
    assert taken == {"late.py", "about.md", "lock.py", "small.min.js", "long.md"}
    assert [p.path for p in read_source(tmp_path / "gen.py", [])] == ["gen.py"]


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.py", '# -*- coding: latin-1 -*-\nx = "café"'.encode("latin-1"), 'x = "café"'),
        ("a.py", '#!/bin/x\n# vim: set fileencoding=cp1252 :\nx = "€"'.encode("cp1252"), 'x = "€"'),
        ("a.html", '<meta charset="shift_jis"><p>日本'.encode("shift_jis"), "日本"),
        ("a.xml", '<?xml version="1.0" encoding="koi8-r"?><a>мир</a>'.encode("koi8-r"), "мир"),
        ("a.txt", "naïve\r\nmixed\rends\n".encode(), "naïve\nmixed\nends"),
        ("a.txt", "mark é".encode("utf-16-be").join([b"\xfe\xff", b""]), "mark é"),
        ("a.py", b"# coding: no-such-thing\nx = 'plain'", "x = 'plain'"),
        ("a.html", b'<meta charset="utf-16"><p>plain', "plain"),
        ("a.py", b"# coding: hex\nx = 'plain'", "x = 'plain'"),
    ],
)
def test_declared_encodings_are_read(tmp_path, name, content, text):
    (tmp_path / name).write_bytes(content)
    skipped: list[SkippedFile] = []
    passages = list(read_source(tmp_path, skipped))
    assert skipped == []
    assert text in "\n".join(p.text for p in passages)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"# coding: ascii\nx = '\xc3\xa9'", "not ASCII text"),
        (b"\xff\xfe\x00", "not UTF-16 text"),
        (b"\xef\xbb\xbfcaf\xe9", "not UTF-8 text"),
        (b"half \xf0\x9f\x9a", "not UTF-8 text"),
        (b"# coding: utf-8\nx\0y", "binary"),
    ],
)
def test_files_that_are_not_what_they_say_are_skipped(tmp_path, content, reason):
    (tmp_path / "a.py").write_bytes(content)
    skipped: list[SkippedFile] = []
    assert list(read_source(tmp_path, skipped)) == []
    assert [one.reason for one in skipped] == [reason]


def test_a_submodule_is_read_by_its_own_rules(tmp_path):
    """git lists a submodule's files by asking the submodule: so does this test."""
    inner = tmp_path / "vendor/lib"
    inner.mkdir(parents=True)
    (tmp_path / ".gitignore").write_text("*.txt\n")
    for folder in (tmp_path, inner):
        (folder / "a.txt").write_text("text")
        (folder / "a.py").write_text("x = 1")
        (folder / "b.c").write_text("int x;")
    (inner / ".gitignore").write_text("*.c\n")

    def listed(folder: Path) -> set[str]:
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        command = ["git", "ls-files", "--others", "--exclude-standard"]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        return {name for name in done.stdout.split() if not name.startswith(".")}

    expected = {f"vendor/lib/{name}" for name in listed(inner)}
    expected |= {name for name in listed(tmp_path) if not name.startswith("vendor")}
    assert expected == {"a.py", "b.c", "vendor/lib/a.py", "vendor/lib/a.txt"}
    assert {p.path for p in read_source(tmp_path, [])} == expected
