"""Files of a folder are read or skipped with a reason."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mbert_retrieval import InputError, Passage
from mbert_retrieval.sources import Selection, SkippedFile, read_source
from support.pdf import pdf
from support.sources import passages_of


def test_a_folder_gives_its_text_and_counts_the_rest(tmp_path):
    files = {
        "a.py": b"x = 1\r\ny = 2\rz = 3\n",
        "mark.txt": "\ufeffmark".encode(),
        "wide.txt": "wide é".encode("utf-16"),
        "wider.txt": "wider é".encode("utf-32"),
        "binary.dat": b"a\0b",
        "latin.txt": b"caf\xe9",
        "large.py": b"x = 1\n" * 200_000,
        "empty.py": b"",
        "blank.py": b"\n \n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")
    skipped: list[SkippedFile] = []
    passages = list(read_source(tmp_path, skipped))
    assert {p.id: p.text for p in passages} == {
        "a.py:1-3": "x = 1\ny = 2\nz = 3",
        "mark.txt:1-1": "mark",
        "wide.txt:1-1": "wide é",
        "wider.txt:1-1": "wider é",
    }
    reasons = {Path(file.path).name: file.reason for file in skipped}
    assert reasons == {
        "binary.dat": "binary",
        "latin.txt": "not UTF-8 text",
        "large.py": "too large (1,200,000 bytes, the limit is 1,048,576)",
        "pipe": "not a plain file",
    }


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.bin", b"a\0b", r"cannot index .*a\.bin: binary"),
        ("a.txt", b"\xff\xfeabc", "not UTF-16 text"),
        ("a.py", b"x" * ((1 << 20) + 1), "too large"),
    ],
)
def test_a_file_that_is_itself_a_source_must_be_text(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=expected):
        passages_of(tmp_path / name)


def test_a_name_that_is_not_unicode_is_read(tmp_path):
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))).write_text("text")
    assert [passage.path for passage in passages_of(tmp_path)] == ["caf\ufffd.txt"]


def test_a_file_may_be_as_large_as_the_limit(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    assert [p.id for p in passages_of(tmp_path, selection=Selection(max_bytes=6))] == ["a.py:1-1"]
    skipped: list[SkippedFile] = []
    assert list(read_source(tmp_path, skipped, selection=Selection(max_bytes=5))) == []
    assert [file.reason for file in skipped] == ["too large (6 bytes, the limit is 5)"]


def test_a_pdf_may_be_32_times_as_large(tmp_path):
    content = pdf([["text"]])
    (tmp_path / "a.pdf").write_bytes(content)
    limit = -(-len(content) // 32)
    assert passages_of(tmp_path, selection=Selection(max_bytes=limit))
    assert passages_of(tmp_path, selection=Selection(max_bytes=limit - 1)) == []


def test_skipped_files_have_full_paths_and_may_be_ignored(tmp_path):
    (tmp_path / "a.dat").write_bytes(b"\0")
    (tmp_path / "link").symlink_to("a.dat")
    skipped: list[SkippedFile] = []
    assert list(read_source(tmp_path, skipped)) == []
    assert skipped == [
        SkippedFile(f"{tmp_path}/link", "symbolic link"),
        SkippedFile(f"{tmp_path}/a.dat", "binary"),
    ]
    assert list(read_source(tmp_path)) == []


def test_translations_are_read_only_when_a_pattern_names_them(tmp_path):
    (tmp_path / "de.po").write_text('msgid "owl"')
    assert passages_of(tmp_path) == []
    assert passages_of(tmp_path, selection=Selection(include=("de.*",))) == []
    assert len(passages_of(tmp_path, selection=Selection(include=("*.PO", "*.po")))) == 1
    assert len(passages_of(tmp_path / "de.po")) == 1


RECORD = {"_id": "r", "title": "T", "text": "intro\r\n# One\r\na\r\n# Two\r\nb", "year": 1999}


@pytest.mark.parametrize("documents", ["", "whole"])
def test_records_of_a_collection_are_whole(tmp_path, documents):
    (tmp_path / "c.jsonl").write_text(json.dumps(RECORD))
    selection = Selection(documents=documents)
    assert passages_of(tmp_path / "c.jsonl", selection=selection) == [
        Passage("r", RECORD["text"], "T", metadata={"year": 1999})
    ]


def test_records_of_a_collection_can_be_split(tmp_path):
    short = {"_id": "s", "text": "short"}
    (tmp_path / "c.jsonl").write_text(json.dumps(RECORD) + "\n" + json.dumps(short))

    def part(number: int, **name: str) -> dict[str, object]:
        return {"year": 1999, "document": "r", "part": number, **name}

    assert passages_of(tmp_path / "c.jsonl", selection=Selection(documents="cut")) == [
        Passage("r", "intro", "T", metadata=part(1)),
        Passage("r#2", "# One\na", "T", metadata=part(2, name="One")),
        Passage("r#3", "# Two\nb", "T", metadata=part(3, name="Two")),
        Passage("s", "short"),
    ]
