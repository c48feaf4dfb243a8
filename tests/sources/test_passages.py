"""Files of a folder are read or skipped with a reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.sources import SkippedFile, read_source
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
