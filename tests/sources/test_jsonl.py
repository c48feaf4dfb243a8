"""Collections: `.jsonl` files and BEIR folders."""

from __future__ import annotations

import json

import pytest

from mbert_retrieval import InputError, Passage
from support.sources import passages_of


def test_a_beir_folder_and_a_jsonl_file_are_collections(tmp_path):
    records = [
        {"_id": "1", "title": "T", "text": "one", "metadata": {"url": "u"}, "year": 1999},
        {"id": 2, "text": ""},
        {"_id": "ü 3", "title": None, "text": "half \ud800 a character", "tags": ["\udfff"]},
    ]
    lines = "\n\n".join(json.dumps(record) for record in records)
    (tmp_path / "corpus.jsonl").write_text("\ufeff" + lines, encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text("not read")
    expected = [
        Passage("1", "one", "T", metadata={"url": "u", "year": 1999}),
        Passage("2", ""),
        Passage("ü 3", "half ? a character", metadata={"tags": ["?"]}),
    ]
    assert passages_of(tmp_path) == expected
    assert passages_of(tmp_path / "corpus.jsonl") == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"_id": "x", "text": "a"', r"not JSON \(Expecting"),
        (b'["_id"]', "not a JSON object"),
        (b'{"text": "a"}', 'no "_id" and no "id"'),
        (b'{"_id": "", "text": "a"}', '"_id" must be a string or a whole number, and not empty'),
        (b'{"id": true, "text": "a"}', '"id" must be a string'),
        (b'{"_id": "x", "title": "t"}', 'no "text"'),
        (b'{"_id": "x", "text": null}', '"text" must be a string, not NoneType'),
        (b'{"_id": "x", "text": "a", "title": 1}', '"title" must be a string, not int'),
        (b'{"_id": "x", "text": "a", "n": NaN}', "NaN is not a JSON value"),
        (b'{"_id": "x", "text": "a", "n": -1e999}', r"not JSON \(-1e999 is too large a number"),
        (b'{"_id": ' + b"9" * 5000 + b', "text": "a"}', r"not JSON \(a number of 5,000 digits\)"),
        (b'{"_id": "x", "text": "caf\xe9"}', "not UTF-8 text"),
        (b"[" * 100_000, "nested more than 64 levels deep"),
        (b'{"_id": "doc 3", "text": "a"}', "id 'doc 3' was already on line 4"),
        (b'{"_id": "x", "text": "' + b"a" * (65 << 20), "longer than 64 MiB"),
    ],
)
def test_an_invalid_line_is_named(tmp_path, line, expected):
    file = tmp_path / "c.jsonl"
    good = [json.dumps({"_id": f"doc {n}", "text": "a"}).encode() for n in range(16)]
    file.write_bytes(b"\n".join([*good, line]))
    with pytest.raises(InputError, match=expected) as raised:
        passages_of(file)
    assert f"{file}, line 17: " in str(raised.value)
    assert "\n" not in str(raised.value)


def test_keys_have_an_order_of_precedence(tmp_path):
    record = {"id": 7, "_id": "x", "text": "a", "metadata": {"n": 1, "m": 1}, "n": 2}
    (tmp_path / "c.jsonl").write_text(json.dumps(record))
    assert passages_of(tmp_path / "c.jsonl") == [
        Passage("x", "a", metadata={"id": 7, "n": 2, "m": 1})
    ]


def test_metadata_that_is_no_object_is_a_value(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"_id": "x", "text": "a", "metadata": [1]}')
    assert passages_of(tmp_path / "c.jsonl") == [Passage("x", "a", metadata={"metadata": [1]})]
