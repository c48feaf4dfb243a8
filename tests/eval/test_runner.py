"""The runner over a small fake index, the record that it leaves, and the table made of records."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mbert_retrieval import Index, InputError, Packed
from mbert_retrieval.eval import runner
from mbert_retrieval.eval.datasets import Dataset, read_beir
from mbert_retrieval.eval.measures import parse_measures
from mbert_retrieval.eval.report import markdown_table
from mbert_retrieval.eval.results import EncoderRecord, read_results
from mbert_retrieval.eval.runner import System, open_index, prepare, score_run
from mbert_retrieval.search.encoders import IndexEncoders

MEASURES = parse_measures("P@1 R@3")


class FakeIndex:
    """Returns rankings written down beforehand, by query text."""

    def __init__(self, rankings):
        self.rankings = rankings
        self.calls = []

    def search_many(self, texts, k, mode):
        self.calls += [(text, k, mode) for text in texts]
        return [SimpleNamespace(ranking=self.rankings[text][:k]) for text in texts]


def dataset_of(qrels, tmp_path):
    return Dataset(
        name="small",
        split="test",
        folder=tmp_path,
        queries={query: f"text of {query}" for query in qrels},
        qrels=qrels,
        documents=5,
        checksums={"corpus.jsonl": "c0"},
    )


def system_of(dataset, rankings, encoder=None, kind=None):
    index = FakeIndex({f"text of {query}": ranking for query, ranking in rankings.items()})
    return System(dataset, index, encoder, kind, seconds=1.5, reused=0)


ENCODER = EncoderRecord("/models/nano", "f0", "late", 32, 32, 300, "int8")
QRELS = {"a": {"a": 1, "b": 1}, "b": {"c": 2}, "c": {"a": 1}}
RANKINGS = {
    "a": [("a", 3.0), ("d", 2.0), ("e", 1.0), ("b", 0.5)],
    "b": [("c", 1.0)],
    "c": [],
}


def test_result_says_what_made_it(tmp_path):
    system = system_of(dataset_of(QRELS, tmp_path), RANKINGS, ENCODER, "flat")
    result, run = system.evaluate("hybrid", MEASURES, k=3)
    assert system.index.calls == [(f"text of {query}", 3, "hybrid") for query in QRELS]
    assert run == {"a": {"a": 3.0, "d": 2.0, "e": 1.0}, "b": {"c": 1.0}, "c": {}}
    assert result.per_query["R@3"] == {"a": 0.5, "b": 1.0, "c": 0.0}
    assert result.measures["R@3"] == pytest.approx(0.5)
    assert result.system == "nano late (flat) + BM25"
    assert result.encoder == {
        "name": "/models/nano",
        "fingerprint": "f0",
        "kind": "late",
        "dimension": 32,
        "query_length": 32,
        "document_length": 300,
        "precision": "int8",
    }
    assert result.index == {"kind": "flat", "seconds": 1.5, "reused": 0}
    assert result.search["mode"] == "hybrid"
    assert result.search["queries_without_results"] == 1
    counts = {key: result.dataset[key] for key in ("documents", "queries", "judgements")}
    assert counts == {"documents": 5, "queries": 3, "judgements": 4}
    assert result.environment["python"] == platform.python_version()
    assert result.environment["packages"]["torch"] == torch.__version__
    assert result.environment["cpus"] == os.cpu_count()
    # this process holds torch, so tens of megabytes at the least; a wrong unit is off by 1,024
    assert 30e6 < result.peak_memory_bytes < 200e9


def test_own_id_is_dropped_only_when_asked_and_the_list_stays_full(tmp_path):
    system = system_of(dataset_of(QRELS, tmp_path), RANKINGS)
    result, run = system.evaluate("lexical", MEASURES, k=3, drop_own_id=True)
    assert run["a"] == {"d": 2.0, "e": 1.0, "b": 0.5}
    assert run["b"] == {"c": 1.0}
    assert result.per_query["R@3"]["a"] == 0.5
    assert result.search["drop_own_id"] is True
    assert result.system == "BM25"


def test_a_ranking_without_the_own_id_is_cut_at_k_too(tmp_path):
    rankings = {**RANKINGS, "c": [("d", 4.0), ("e", 3.0), ("b", 2.0), ("a", 1.0)]}
    system = system_of(dataset_of(QRELS, tmp_path), rankings)
    _, run = system.evaluate("lexical", MEASURES, k=3, drop_own_id=True)
    assert run["c"] == {"d": 4.0, "e": 3.0, "b": 2.0}


def test_latency_is_the_median_and_95th_percentile_of_single_queries(tmp_path, monkeypatch):
    milliseconds = dict(zip(("text of a", "text of b", "text of c"), (1, 10, 2), strict=True))
    clock = [0.0]

    class TimedIndex(FakeIndex):
        def search_many(self, texts, k, mode):
            clock[0] += sum(milliseconds[text] for text in texts) / 1000
            return super().search_many(texts, k, mode)

    monkeypatch.setattr(runner, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    system = system_of(dataset_of(QRELS, tmp_path), RANKINGS)
    timed = replace(system, index=TimedIndex(system.index.rankings))
    search = timed.evaluate("lexical", MEASURES, k=3, latency_queries=5)[0].search
    assert search["seconds"] == pytest.approx(0.013)
    assert search["latency_ms"] == {"median": 2.0, "p95": 9.2, "queries": 3}


def test_requests_that_cannot_be_answered(tmp_path):
    system = system_of(dataset_of(QRELS, tmp_path), RANKINGS)
    with pytest.raises(InputError, match="mode vector needs an encoder"):
        system.evaluate("vector", MEASURES)
    with pytest.raises(InputError, match="unknown mode 'fuzzy'"):
        system.evaluate("fuzzy", MEASURES)
    with pytest.raises(InputError, match="R@3 looks at 3 results: set k to at least 3"):
        system.evaluate("lexical", parse_measures("R@3"), k=2)
    with pytest.raises(InputError, match="at least 1"):
        system.evaluate("lexical", parse_measures("AP"), k=0)
    assert not system.index.calls


def test_what_is_no_encoder_or_measure_is_named(tmp_path):
    dataset = dataset_of(QRELS, tmp_path)
    with (
        pytest.raises(TypeError, match="'nano' is not an encoder: load one"),
        prepare(dataset, "nano"),
    ):
        pass
    with pytest.raises(TypeError, match="from parse_measures, not be 'R@3'"):
        system_of(dataset, RANKINGS).evaluate("lexical", "R@3")
    with pytest.raises(TypeError, match=r"from parse_measures, not be \['R@3'\]"):
        score_run(dataset, Path(__file__), {"b": {"c": 1.0}}, ["R@3"])
    with pytest.raises(TypeError, match="one string, such as 'nDCG@10 R@100', not list"):
        parse_measures(["R@3"])


def test_a_score_that_is_not_a_number_is_not_measured(tmp_path):
    broken = {**RANKINGS, "b": [("c", float("nan"))]}
    system = system_of(dataset_of(QRELS, tmp_path), broken)
    with pytest.raises(InputError, match="BM25 gave a score that is not a number for query 'b'"):
        system.evaluate("lexical", MEASURES, k=3)


def test_a_run_of_another_split_is_refused(tmp_path):
    dataset = dataset_of(QRELS, tmp_path)
    path = tmp_path / "peer.trec"
    path.write_text("x Q0 a 1 1.0 t\n")
    with pytest.raises(InputError, match=r"none of the queries in .*peer\.trec is judged in small"):
        score_run(dataset, path, {"x": {"a": 1.0}}, MEASURES)
    result = score_run(dataset, path, {"b": {"c": 1.0}}, MEASURES)
    assert result.system == "peer"
    assert result.measures["R@3"] == pytest.approx(1 / 3)


def test_records_make_a_table(tmp_path):
    dataset = dataset_of(QRELS, tmp_path)
    first, _ = system_of(dataset, RANKINGS).evaluate("lexical", MEASURES, k=3)
    worse = {**RANKINGS, "b": []}
    second, _ = system_of(dataset, worse, ENCODER, "flat").evaluate("vector", MEASURES, k=3)
    other = replace(first, dataset={**first.dataset, "name": "other"}, measures={"R@3": 1.0})
    for name, result in {"1": first, "2": second, "3": other}.items():
        result.write(tmp_path / "results" / f"{name}.json")
    assert read_results(tmp_path / "results") == [first, second, other]
    assert markdown_table([first, second, other], ["R@3", "P@1"]) == (
        "| system           | small test R@3 | small test P@1 | other test R@3 | other test P@1 |\n"
        "| ---------------- | -------------: | -------------: | -------------: | -------------: |\n"
        "| BM25             |      **0.500** |      **0.667** |          1.000 |              - |\n"
        "| nano late (flat) |          0.167 |          0.333 |              - |              - |\n"
    )
    assert "per_query" not in first.summary()
    with pytest.raises(InputError, match="two results for 'BM25' on small test"):
        markdown_table([first, first])
    moved = replace(second, dataset={**second.dataset, "checksums": {"corpus.jsonl": "c1"}})
    with pytest.raises(InputError, match=r"'BM25' and 'nano late \(flat\)' measured different"):
        markdown_table([first, moved])


@pytest.mark.parametrize("text", ["{", "[]", "{}", json.dumps({"system": "x"})])
def test_files_that_are_not_results(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json is not a result file"):
        read_results(tmp_path)


def test_folders_without_results(tmp_path):
    with pytest.raises(InputError, match="contains no result files"):
        read_results(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        read_results(tmp_path / "nowhere")


class LetterEncoder:
    """Dense: how often each letter comes. Late: a one-hot row a letter. Counts what it encodes."""

    name, dimension = "letters", 27

    def __init__(self, kind, fingerprint="1" * 64):
        self.kind = kind
        self.fingerprint = fingerprint
        self.encoded = 0

    def rows(self, text):
        # the last column stands for the text itself, so that an empty one has a vector too
        letters = [26, *(ord(letter) - 97 for letter in text if "a" <= letter <= "z")]
        rows = np.eye(27, dtype=np.float32)[letters]
        if self.kind == "late":
            return rows
        total = rows.sum(0, keepdims=True)
        return total / np.linalg.norm(total)

    def encode_queries(self, texts):
        return Packed.from_sequences([self.rows(text) for text in texts])

    def stream_documents(self, texts):
        for text in texts:
            self.encoded += 1
            yield Packed.from_sequences([self.rows(text)])


DOCUMENTS = {"a": "abba", "b": "bcb", "c": "", "d": "xyz xx", "e": "abc"}


def beir_of(folder, documents):
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, texts in {"corpus": documents, "queries": {"q1": "bab", "q2": "zyx"}}.items():
        rows = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
    (folder / "qrels" / "test.tsv").write_text("q1\ta\t1\nq2\td\t1\n")
    return read_beir(folder)


@pytest.mark.parametrize(("kind", "index_kind"), [("dense", "faiss"), ("late", "plaid")])
def test_one_kept_index_answers_every_mode(tmp_path, kind, index_kind):
    dataset = beir_of(tmp_path / "letters", DOCUMENTS)
    encoder = LetterEncoder(kind)
    done = []
    with prepare(dataset, encoder, cache=tmp_path / "cache", progress=done.append) as system:
        runs = {
            mode: system.evaluate(mode, MEASURES)[1] for mode in ("vector", "lexical", "hybrid")
        }
    assert (system.engine, system.reused, encoder.encoded, done[-1]) == (index_kind, 0, 5, 5)
    for query, text in dataset.queries.items():
        wanted = {
            document: (encoder.rows(text) @ encoder.rows(content).T).max(1).sum()
            for document, content in DOCUMENTS.items()
        }
        assert runs["vector"][query] == pytest.approx(wanted, abs=1e-5)
        scores = list(runs["vector"][query].values())
        assert scores == sorted(scores, reverse=True)
    assert runs["lexical"] == {"q1": {}, "q2": {}}  # no letters, but words
    assert list(runs["hybrid"]["q2"]) == list(runs["vector"]["q2"])

    with prepare(dataset, encoder, cache=tmp_path / "cache") as system:
        assert system.evaluate("vector", MEASURES)[1] == runs["vector"]
    assert (system.reused, encoder.encoded) == (5, 5)
    changed = LetterEncoder(kind, fingerprint="2" * 64)
    with prepare(dataset, changed, cache=tmp_path / "cache") as system:
        assert (system.reused, changed.encoded) == (0, 5)


def test_an_index_with_two_encoders_is_named_by_what_answers(tmp_path):
    dataset = beir_of(tmp_path / "letters", DOCUMENTS)
    encoders = [LetterEncoder("late"), LetterEncoder("dense", fingerprint="2" * 64)]
    Index.build(tmp_path / "both.index", dataset.passages(), encoders, engine="flat")
    system = open_index(dataset, tmp_path / "both.index")
    system.index.encoders = IndexEncoders(system.index.folder, encoders)
    results = {
        mode: system.evaluate(mode, MEASURES)[0]
        for mode in ("late", "dense", "vector", "hybrid", "lexical")
    }
    assert {mode: result.system for mode, result in results.items()} == {
        "late": "letters late (flat)",
        "dense": "letters dense (flat)",
        "vector": "letters late (flat) + letters dense (flat)",
        "hybrid": "letters late (flat) + letters dense (flat) + BM25",
        "lexical": "BM25",
    }
    assert results["dense"].encoder["fingerprint"] == "2" * 64
    assert results["vector"].encoder["kind"] == "late + dense"


def test_interrupted_indexing_is_carried_on(tmp_path):
    dataset = beir_of(tmp_path / "letters", DOCUMENTS)

    class Interrupted(LetterEncoder):
        def stream_documents(self, texts):
            for vectors in super().stream_documents(texts):
                yield vectors
                if self.encoded == 3:
                    raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        prepare(dataset, Interrupted("dense"), cache=tmp_path / "cache"),
    ):
        pass
    encoder = LetterEncoder("dense")
    with prepare(dataset, encoder, cache=tmp_path / "cache") as system:
        result, run = system.evaluate("vector", MEASURES)
    assert (system.reused, encoder.encoded) == (3, 2)
    assert result.index["reused"] == 3
    assert set(run["q1"]) == set(DOCUMENTS)
