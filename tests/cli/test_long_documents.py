"""Documents as one passage: a long one is read to its end, and the index remembers that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mbert_retrieval import Index, Passage, load_encoder
from support.cli import assert_refused, run, run_json

SENTENCES = (
    "The committee met on {} in the town hall and talked about the budget of the year.\n",
    "Minutes of the meeting were read aloud, and nobody in the room objected to them.\n",
    "After a short pause item {} was put to the vote and taken with a large majority.\n",
)
FACT = "The lighthouse keeper of Narvik repairs violins in the winter."
QUESTION = "who repairs violins"


def minutes(tokens: int) -> str:
    encoder = load_encoder("nano")
    text, number = "", 0
    while len(encoder.tokenizer.token_ids(text)) < tokens:
        number += 1
        text += "".join(sentence.format(number) for sentence in SENTENCES)
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two long documents that differ only in their last line."""
    folder = tmp_path_factory.mktemp("long")
    text = minutes(4000)
    (folder / "a.txt").write_text(text + "The meeting ended late, and all went home by train.\n")
    (folder / "b.txt").write_text(text + FACT)
    records = [{"id": file.stem, "text": file.read_text()} for file in folder.glob("*.txt")]
    (folder / "records.jsonl").write_text("\n".join(map(json.dumps, records)))
    return folder


@pytest.mark.parametrize("source", [".", "records.jsonl"])
def test_a_fact_at_the_end_of_a_long_document_is_found(folder, tmp_path, source):
    at = ("--index", tmp_path / "i")
    (built,) = run_json("index", "build", folder / source, *at, "--whole")
    assert built["passages"] == 2
    for mode in ("late", "hybrid"):
        hits = run_json("search", "query", QUESTION, *at, "--mode", mode, "--explain")
        assert [Path(hit["path"] or hit["id"]).stem for hit in hits] == ["b", "a"]
    violins = [token for token in hits[0]["matches"]["tokens"] if "violin" in token["query"]]
    assert violins
    assert all(hits[0]["text"].index(FACT) <= token["start"] for token in violins)
    assert run_json("index", "build", folder / source, *at, "--whole")[0]["unchanged"] == 2
    assert run_json("index", "build", folder / source, *at, "--encoder", "nano")[0]["added"] == 0


def test_vectors_of_cut_documents_do_not_serve_for_entire_ones(folder, tmp_path):
    at = ("--index", tmp_path / "i")
    run_json("index", "build", folder / "records.jsonl", *at)
    done = run("index", "build", folder / "records.jsonl", *at, "--whole")
    assert_refused(done, "other settings of it")


def test_a_lexical_index_can_change_to_entire_documents(folder, tmp_path):
    lexical = ("--index", tmp_path / "l", "--encoder", "none")
    run_json("index", "build", folder, *lexical)
    assert run_json("index", "build", folder, *lexical, "--whole")[0]["passages"] == 2


def test_an_index_loads_its_encoder_as_it_was(tmp_path, tiny_encoder_folder):
    encoder = load_encoder(tiny_encoder_folder, pool_factor=2, document_length=12)
    texts = {"a": "read the file and close it", "b": "retry " * 40}
    passages = [Passage(id, text) for id, text in texts.items()]
    Index.build(tmp_path / "i", passages, encoder)
    opened = Index.open(tmp_path / "i")
    assert opened.search("read the file", mode="late")[0].passage.id == "a"
    opened.add([Passage("c", "read the file")])
    assert opened.encoder.fingerprint == encoder.fingerprint
