"""Encodings: which are read, and why other files are skipped."""

from __future__ import annotations

import pytest

from mbert_retrieval.sources import SkippedFile, read_source


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
