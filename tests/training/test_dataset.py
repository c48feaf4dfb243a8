"""Training rows: every form that is read, and what is said of a bad one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.training.dataset import build_dataset, read_examples
from mbert_retrieval.training.recipe import DataOptions, Recipe
from support.training_data import raw_recipe, triplets, write_jsonl

pytest.importorskip("datasets")


def read(path, **options):
    return [
        (e.query, e.documents, e.scores) for e in read_examples(DataOptions(str(path), **options))
    ]


FORMS = [
    ({"query": "q", "positive": "p"}, ("q", ["p"], None)),
    ({"anchor": "q", "document": "p"}, ("q", ["p"], None)),
    ({"query": "q", "positive": "p", "negative": "n"}, ("q", ["p", "n"], None)),
    ({"query": "q", "positive": "p", "negatives": ["n", "m"]}, ("q", ["p", "n", "m"], None)),
    (
        {"query": "q", "positive": "p", "negative_1": "n", "negative_2": "m", "id": 7},
        ("q", ["p", "n", "m"], None),
    ),
    (
        {
            "query": "q",
            "positive_passages": [{"docid": "1", "title": "t", "text": "p"}],
            "negative_passages": [{"docid": "2", "text": "n"}],
        },
        ("q", ["t p", "n"], None),
    ),
    ({"query": "q", "documents": ["a", "b"], "scores": [1, 0.5]}, ("q", ["a", "b"], [1.0, 0.5])),
    (
        {"query": "q", "documents": '["a", "b"]', "scores": "[1, 0.5]"},
        ("q", ["a", "b"], [1.0, 0.5]),
    ),
    ({"query": "q", "positive": "p", "negative": "n", "margin": 2}, ("q", ["p", "n"], [2.0, 0.0])),
]


@pytest.mark.parametrize(("row", "expected"), FORMS)
def test_forms_of_rows(tmp_path, row, expected):
    assert read(write_jsonl(tmp_path / "rows.jsonl", [row])) == [expected]


@pytest.mark.parametrize(("row", "expected"), FORMS)
def test_parquet_reads_as_jsonl_does(tmp_path, row, expected):
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist([row]), tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet") == [expected]


def test_columns_are_renamed(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"docstring": "q", "code": "p"}])
    columns = {"query": "docstring", "positive": "code"}
    assert read(path, columns=columns) == [("q", ["p"], None)]
    with pytest.raises(InputError, match=r"rows.jsonl:1: no 'body'"):
        read(path, columns={"positive": "body"})


def test_ids_are_looked_up(tmp_path):
    rows = [{"query_id": 7, "document_ids": ["b", "a"], "scores": [0.5, 1.0]}]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    queries = write_jsonl(tmp_path / "queries.jsonl", [{"query_id": 7, "query": "what"}])
    corpus = [{"_id": "a", "title": "A", "text": "first"}, {"_id": "b", "text": "second"}]
    documents = write_jsonl(tmp_path / "corpus.jsonl", corpus)
    options = {"queries": str(queries), "documents": str(documents)}
    assert read(path, **options) == [("what", ["second", "A first"], [0.5, 1.0])]
    write_jsonl(path, [*rows, {"query_id": 7, "document_ids": ["c"], "scores": [1]}])
    with pytest.raises(InputError, match=r"rows.jsonl:2: the id 'c' is not in .*corpus.jsonl"):
        read(path, **options)


def test_a_set_of_the_hub(tmp_path, monkeypatch):
    """datasets takes a folder of that name for the set, so the same call is tried offline."""
    import pyarrow as pa
    from pyarrow import parquet

    folder = tmp_path / "some" / "set" / "data"
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist([{"query": "q", "positive": "p", "negative": "n"}])
    parquet.write_table(table, folder / "train-00000.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert read("hub:some/set") == [("q", ["p", "n"], None)]
    with pytest.raises(InputError, match="cannot load hub:some/other"):
        read("hub:some/other")
    with pytest.raises(InputError, match="is not hub:OWNER"):
        read("hub:some")


def test_a_beir_folder_gives_its_relevant_pairs(tmp_path):
    documents = [
        {"_id": i, "title": t, "text": i * 2} for i, t in (("a", "T"), ("b", ""), ("c", ""))
    ]
    write_jsonl(tmp_path / "corpus.jsonl", documents)
    write_jsonl(
        tmp_path / "queries.jsonl", [{"_id": "1", "text": "one"}, {"_id": "2", "text": "two"}]
    )
    (tmp_path / "qrels").mkdir()
    judged = "query-id\tcorpus-id\tscore\n2\ta\t1\n2\tb\t0\n1\tc\t2\n1\ta\t1\n"
    (tmp_path / "qrels" / "train.tsv").write_text(judged)
    expected = [("two", ["T aa"], None), ("one", ["cc"], None), ("one", ["T aa"], None)]
    assert read(tmp_path) == expected


GOOD = {"query": "q", "positive": "p", "negative": "n"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "broken JSON"),
        ("[1]", "expected a JSON object"),
        (json.dumps({"query": "q"}), "no 'positive'"),
        (json.dumps({"positive": "p"}), "no 'query'"),
        (json.dumps({"query": 3, "positive": "p"}), "'query' must be a string, not int"),
        (json.dumps({"query": "q", "positive": " "}), "'positive' is empty"),
        (json.dumps({"query": "q", "positive": "p", "negatives": [None]}), "must be a string"),
        (json.dumps({"query": "q", "positive": "\ud800", "negative": "n"}), "surrogate"),
        (json.dumps({"query": "q", "documents": ["a"], "scores": [1, 2]}), "2 scores for 1"),
        (json.dumps({"query": "q", "documents": [], "scores": []}), "not empty"),
        ('{"query": "q", "documents": ["a"], "scores": [NaN]}', "finite"),
        (json.dumps({"query": "q", "documents": ["a"], "scores": ["1"]}), "finite numbers"),
        (json.dumps({"query": "q", "positive": "p"}), "1 documents instead of 2"),
    ],
)
def test_a_bad_row_names_its_file_and_line(tmp_path, line, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n\n{line}\n")
    recipe = Recipe.parse("dense", raw_recipe("x", path, tmp_path))
    with pytest.raises(InputError, match=message) as error:
        build_dataset(recipe, tmp_path / "run" / "rows.arrow")
    assert str(error.value).startswith(f"{path}:3: ")
    assert "\n" not in str(error.value)


def test_the_columns_that_losses_read(tmp_path):
    rows = [
        {"query": f"q{i}", "positive": f"p{i}", "negatives": [f"n{i}", f"m{i}"]} for i in range(9)
    ]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    recipe = Recipe.parse(
        "dense", raw_recipe("x", path, tmp_path, data={"negatives": 1, "rows": 5})
    )
    dataset = build_dataset(recipe, tmp_path / "rows.arrow")
    assert dataset.column_names == ["query", "document_1", "document_2"]
    assert dataset[:]["document_2"] == [f"n{i}" for i in range(5)]
    scored = [{"query": "q", "documents": ["a", "b", "c"], "scores": [3, 2, 1]}]
    write_jsonl(path, scored)
    sections = {"data": {"documents_per_query": 2}, "loss": {"name": "kl"}}
    dataset = build_dataset(
        Recipe.parse("dense", raw_recipe("x", path, tmp_path, **sections)), tmp_path / "rows.arrow"
    )
    assert dataset.column_names == ["query", "document_1", "document_2", "label"]
    assert dataset[0]["label"] == [3.0, 2.0]


def test_scored_losses_want_scores_and_two_documents(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [GOOD])
    recipe = Recipe.parse("dense", raw_recipe("x", path, tmp_path, loss={"name": "margin-mse"}))
    with pytest.raises(InputError, match=r"rows.jsonl:1: no 'scores'"):
        build_dataset(recipe, tmp_path / "rows.arrow")
    write_jsonl(path, [{"query": "q", "documents": ["a"], "scores": [1]}])
    with pytest.raises(InputError, match="two documents or more"):
        build_dataset(recipe, tmp_path / "rows.arrow")


def test_held_out_rows_are_those_of_datasets(tmp_path):
    from datasets import Dataset

    path = write_jsonl(tmp_path / "rows.jsonl", triplets(50))
    data = {"held_out": 10, "held_out_seed": 12, "rows": 7}
    dataset = build_dataset(
        Recipe.parse("dense", raw_recipe("x", path, tmp_path, data=data)), tmp_path / "rows.arrow"
    )
    reference = Dataset.from_list(triplets(50)).train_test_split(test_size=10, seed=12)["train"]
    assert dataset["query"] == reference.select(range(7))["query"]


def test_empty_and_unknown_sources(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [])
    recipe = Recipe.parse("dense", raw_recipe("x", path, tmp_path))
    with pytest.raises(InputError, match="no rows"):
        build_dataset(recipe, tmp_path / "rows.arrow")
    for name, message in (
        ("rows.csv", "must be in a .jsonl"),
        ("none.jsonl", "cannot read"),
    ):
        data = replace(recipe.data, train=str(tmp_path / name))
        with pytest.raises(InputError, match=message):
            build_dataset(replace(recipe, data=data), tmp_path / "rows.arrow")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"cannot read .*bad.parquet"):
        read(tmp_path / "bad.parquet")
