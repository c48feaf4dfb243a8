"""Reading BEIR folders: what is read, and every fault named with its file and line."""

from __future__ import annotations

import hashlib
import json

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.eval.datasets import read_beir

DOCUMENTS = [
    {"_id": "d1", "title": "Wings", "text": "lift and drag", "metadata": {"year": 1960}},
    {"_id": "d2", "title": "", "text": ""},
    {"_id": "d 3", "title": None, "text": "line one\u2028line two"},
    {"_id": 4, "text": "no title"},
]
QUERIES = [{"_id": "q1", "text": "what is lift"}, {"_id": "q2", "text": "drag"}, {"_id": "q3"}]
JUDGEMENTS = "query-id\tcorpus-id\tscore\nq2\td 3\t0\nq1\td1\t4\nq1\td2\t1\n"


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(lines(DOCUMENTS), encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text(lines(QUERIES[:2]), encoding="utf-8")
    (tmp_path / "qrels" / "test.tsv").write_text(JUDGEMENTS, encoding="utf-8")
    return tmp_path


def test_reads_what_is_there(folder):
    dataset = read_beir(folder)
    assert (dataset.name, dataset.split, dataset.documents) == (folder.name, "test", 4)
    assert dataset.qrels == {"q2": {"d 3": 0}, "q1": {"d1": 4, "d2": 1}}
    assert list(dataset.queries.items()) == [("q2", "drag"), ("q1", "what is lift")]
    passages = list(dataset.passages())
    assert [p.id for p in passages] == ["d1", "d2", "d 3", "4"]
    assert [p.content for p in passages] == [
        "Wings lift and drag",
        "",
        "line one\u2028line two",
        "no title",
    ]
    for name, checksum in dataset.checksums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum
    assert set(dataset.checksums) == {"corpus.jsonl", "queries.jsonl", "qrels/test.tsv"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("test.tsv", "q1\td1\t4\nq2\td1\t0\n"),
        ("test.qrels", "q1 0 d1 4\nq2 Q0 d1 0\n"),
        ("test.txt", "q1\t0\td1\t4\r\nq2\t0\td1\t0\r\n\r\n"),
    ],
)
def test_judgements_without_header_and_in_trec_columns(folder, name, text):
    (folder / "qrels" / "test.tsv").unlink()
    (folder / "qrels" / name).write_bytes(text.encode())
    assert read_beir(folder, "test").qrels == {"q1": {"d1": 4}, "q2": {"d1": 0}}


def test_byte_order_mark_is_not_part_of_the_first_line(folder):
    for name in ("corpus.jsonl", "qrels/test.tsv"):
        path = folder / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_beir(folder).documents == 4


def test_ids_may_be_under_the_key_id(folder):
    for name in ("corpus.jsonl", "queries.jsonl"):
        path = folder / name
        path.write_text(path.read_text(encoding="utf-8").replace('"_id"', '"id"'), encoding="utf-8")
    assert read_beir(folder).qrels == {"q2": {"d 3": 0}, "q1": {"d1": 4, "d2": 1}}


def test_split_must_be_named_when_there_are_several(folder):
    for name in ("valid", "b", "dev", "a"):  # an order that is not the file system's
        (folder / "qrels" / f"{name}.tsv").write_text("q1\td1\t1\n")
    with pytest.raises(InputError, match="several splits: choose one of a, b, dev, test, valid"):
        read_beir(folder)
    assert read_beir(folder, "dev").qrels == {"q1": {"d1": 1}}
    with pytest.raises(InputError, match="no split 'train': choose one of a, b, dev, test, valid"):
        read_beir(folder, "train")


def test_the_same_split_twice(folder):
    (folder / "qrels" / "test.qrels").write_text("q1 0 d1 1\n")
    with pytest.raises(InputError, match=r"test\.qrels and .*test\.tsv are the same split"):
        read_beir(folder)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"has no {name}"):
        read_beir(folder)


def test_missing_judgements_and_missing_folder(folder):
    (folder / "qrels" / "test.tsv").unlink()
    with pytest.raises(InputError, match=r"no judgements: expected .*SPLIT\.tsv"):
        read_beir(folder)
    (folder / "qrels").rmdir()
    with pytest.raises(InputError, match=r"no judgements: expected .*SPLIT\.tsv"):
        read_beir(folder)
    with pytest.raises(InputError, match="is not a folder"):
        read_beir(folder / "nowhere")


DOCUMENT = '{"_id": "d9", "text": "x"}\n'


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("qrels/test.tsv", "q1\td1\t1\nq1\td2\n", r"test\.tsv:2: 2 columns, expected 3"),
        ("qrels/test.tsv", "q1\td1\n", r"test\.tsv:1: 2 columns, expected 3 \(BEIR\) or 4"),
        ("qrels/test.tsv", "q1\td1\thigh\n", r"test\.tsv:1: the grade 'high' is not"),
        ("qrels/test.tsv", f"q1\td1\t{10**9}\n", r"test\.tsv:1: the grade 1000000000 is beyond"),
        ("qrels/test.tsv", f"q1\td1\t-{10**9}\n", r"test\.tsv:1: the grade -1000000000 is beyond"),
        ("qrels/test.tsv", "q1\td1\t1\n\nqX\td1\t1\n", r"test\.tsv:3: query 'qX' is not in"),
        ("qrels/test.tsv", "q1\tdX\t1\n", r"test\.tsv:1: document 'dX' is not in corpus"),
        ("qrels/test.tsv", "q1\td1\t1\nq1\td1\t0\n", r"test\.tsv:2: .*judged twice"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n", r"test\.tsv contains no judgements"),
        ("corpus.jsonl", DOCUMENT + '{"_id": "d1", "te', r"corpus\.jsonl:2: broken JSON"),
        ("corpus.jsonl", DOCUMENT + "[" * 200_000, r"corpus\.jsonl:2: broken JSON"),
        ("corpus.jsonl", DOCUMENT + "[1]\n", r"corpus\.jsonl:2: expected a JSON object"),
        ("corpus.jsonl", DOCUMENT * 2, r"corpus\.jsonl:2: document id 'd9' appears twice"),
        ("corpus.jsonl", '{"text": "x"}\n', r'corpus\.jsonl:1: no "_id"'),
        ("corpus.jsonl", '{"_id": "", "text": "x"}\n', r'corpus\.jsonl:1: no "_id"'),
        (
            "corpus.jsonl",
            '{"_id": true, "text": "x"}\n',
            r'corpus\.jsonl:1: "_id" must be a string',
        ),
        ("corpus.jsonl", '{"_id": "d1"}\n', r'corpus\.jsonl:1: "text" must be a string'),
        ("corpus.jsonl", '{"_id": "d1", "text": ["x"]}\n', r'corpus\.jsonl:1: "text" must be'),
        ("corpus.jsonl", '{"_id": "d1", "text": "\\ud800"}\n', r"corpus\.jsonl:1: .*surrogate"),
        ("corpus.jsonl", "", r"corpus\.jsonl contains no documents"),
        ("queries.jsonl", '{"_id": "q1", "text": " "}\n', r"queries\.jsonl:1: .*'q1'.*no text"),
        ("queries.jsonl", lines(QUERIES), r'queries\.jsonl:3: "text" must be a string'),
        ("queries.jsonl", lines([*QUERIES[:2], QUERIES[0]]), r"queries\.jsonl:3: query id 'q1'"),
    ],
)
def test_faults_name_file_and_line(folder, name, text, message):
    (folder / name).write_text(text, encoding="utf-8")
    if name == "queries.jsonl":
        (folder / "qrels" / "test.tsv").write_text("q1\td1\t1\n")
    with pytest.raises(InputError, match=message) as caught:
        read_beir(folder)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_not_utf8(folder):
    (folder / "corpus.jsonl").write_bytes(DOCUMENT.encode() + b'{"_id": "\xff"}\n')
    with pytest.raises(InputError, match=r"corpus\.jsonl:2: not UTF-8"):
        read_beir(folder)
