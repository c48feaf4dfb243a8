"""The scripts that made `nano`: pairs from other languages and dictionaries, batches, training."""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mbert_retrieval import load_encoder
from mbert_retrieval.packed import Packed

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "nano"
NANO = Path(__file__).resolve().parents[2] / "mbert_retrieval" / "encoders" / "nano"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """The scripts import each other by name, as they do when run."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(EXAMPLES) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


JAVASCRIPT = """
/**
 * Rounds a number up, away from zero.
 * @param {number} value the number
 */
export function roundUp(value) {
  const text = "{"; // an opening brace {
  if (value < 0) {
    return Math.floor(value);
  }
  return Math.ceil(value);
}

/** A class of no interest here. */
class Shape {
  /** Moves the shape by a given distance. */
  move(distance) {
    this.x += distance;
    this.changed = true;
  }
}
"""
GO = """
// ReadAll reads from r until an error or EOF and returns the data it read.
func ReadAll(r Reader) ([]byte, error) {
\tb := make([]byte, 0, 512)
\treturn fill(b, r)
}
"""
RUST = """
/// Returns the number of bytes in the buffer.
///
/// # Examples
#[inline]
pub fn len(&self) -> usize {
    let n = self.end - self.start;
    n
}

/// A trait is not a function.
pub trait Shape {
    fn area(&self) -> f64;
}
"""


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        (
            "/a.js",
            JAVASCRIPT,
            [("export function roundUp(value) {", "}"), ("move(distance) {", "}")],
        ),
        ("/a.go", GO, [("func ReadAll(r Reader) ([]byte, error) {", "}")]),
        ("/a.rs", RUST, [("pub fn len(&self) -> usize {", "}")]),
    ],
)
def test_documented_functions_of_other_languages(path, text, expected):
    from braces import function_pairs

    for seed in range(20):  # queries and documents are drawn in several styles
        pairs = list(function_pairs(path, text, Random(seed)))
        found = [
            (next(x for x in p.bare.splitlines() if "(" in x and "#[" not in x), p.bare[-1])
            for p in pairs
        ]
        assert found == expected
        for pair in pairs:
            assert pair.document.endswith(pair.bare)
            assert "python" not in pair.query
            assert "@param" not in pair.query
            assert not set("*/{}") & set(pair.query)


def test_wordnet_words_and_glosses():
    from others import wordnet_pairs

    line = (
        "  1 This software and database is being provided to you\n"
        "02084071 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 022 @ 02083346 n 0000 | a member "
        'of the genus Canis; "the dog barked all night"  \n'
    )
    for seed in range(20):
        (pair,) = wordnet_pairs(line, Random(seed))
        assert any(w in pair.query for w in ("dog", "domestic dog", "Canis familiaris"))
        assert pair.document.endswith('a member of the genus Canis; "the dog barked all night"')


def test_dictionary_entries():
    from others import dictionary_pairs

    text = (
        "ignored preface\n\nbit rate\n\n   <communications> The number of {bits} that pass a point "
        "in\n   a network in one second, a measure of {bandwidth}.\n\n   (1998-09-15)\n\nfoo\n\n   "
        "See bar.\n"
    )
    (pair,) = dictionary_pairs(text, Random(3))
    assert "bit rate" in pair.query
    assert pair.document.endswith(
        "communications The number of bits that pass a point in a network in one second, "
        "a measure of bandwidth."
    )


def test_manual_pages():
    from others import manual_pairs

    page = r""".TH fold 1
.SH NAME
fold \- wrap each input line to fit in specified width
.SH SYNOPSIS
.B fold
[\fIOPTION\fR]
.SH DESCRIPTION
Wrap input lines in each
.IR FILE ,
writing to standard output so that none of them is longer than what was asked for.
.PP
With no file it reads the standard input until there is nothing more of it to be read.
.nf
int main(void);
.fi
"""
    pairs = list(manual_pairs(page, Random(0)))
    assert pairs[0].query.endswith("wrap each input line to fit in specified width")
    assert pairs[0].document == (
        "Wrap input lines in each FILE, writing to standard output so that none of them is longer "
        "than what was asked for. With no file it reads the standard input until there is nothing "
        "more of it to be read."
    )


def pairs_of(count=400, seed=0):
    """Random ids, [CLS] prefix ... [SEP], with random unit vectors as the teacher's; every other
    pair has one query more, every fourth (of text) a vector of the whole document."""
    from batches import Pairs, others_of

    random = np.random.default_rng(seed)

    def side(prefix, most):
        rows = [random.integers(600, 16000, random.integers(8, most)) for _ in range(count)]
        return Packed.from_sequences([[2, prefix, *row, 3] for row in rows], np.int64)

    vectors = random.normal(size=(4, count, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    queries, documents, long, others = vectors.astype(np.float16)
    long[np.arange(count) % 4 != 1] = 0
    of = np.arange(0, count, 2)
    return Pairs(
        Packed.concatenate([side(5, 20), side(5, 20).select(of)]),
        side(6, 240),
        np.concatenate((queries, others[of])),
        documents,
        long,
        np.arange(count) % 2 == 0,
        np.arange(count - 20, count),
        random.integers(-1, count, (count, 8)),
        others_of(of, count),
    )


def test_batches():
    from batches import DOCUMENT_TOKENS, HAYSTACK_TOKENS, LONG_PAIRS, SHORT_TOKENS, Batches

    pairs = pairs_of()
    batches, shapes, asked = Batches(pairs, 0), set(), set()
    for step in range(60):
        batch = batches(step)
        again = batches(step)
        np.testing.assert_array_equal(batch.documents.values, again.documents.values)
        assert len(set(batch.rows.tolist())) == len(batch.rows) == len(batch.documents)
        assert not set(batch.rows) & set(pairs.held_out)
        assert (batch.documents.values[batch.documents.offsets[:-1]] == 2).all()
        assert (batch.documents.values[batch.documents.offsets[1:] - 1] == 3).all()
        shapes.add("haystack" if batch.distilled is None else bool(batch.distilled.all()))
        for i, (row, query) in enumerate(zip(batch.rows, batch.queries, strict=True)):
            (own,) = (
                n
                for n in (row, *pairs.other_queries[row])
                if n >= 0 and query.tolist() == pairs.queries[n].tolist()
            )
            asked.add(("code" if row % 2 == 0 else "text", own == row))
            document = batch.documents[i]
            needle = pairs.documents[row][2:-1][:SHORT_TOKENS]
            if batch.distilled is None:
                assert needle.tobytes() in document.tobytes()
            else:
                assert len(document) <= DOCUMENT_TOKENS
                np.testing.assert_array_equal(
                    document[:-1], pairs.documents[row][: len(document) - 1]
                )
                np.testing.assert_array_equal(batch.teacher_queries[i], pairs.teacher_queries[own])
                whole = len(batch.rows) == LONG_PAIRS and row % 4 == 1
                goals = pairs.teacher_long if whole else pairs.teacher_documents
                np.testing.assert_array_equal(batch.teacher_documents[i], goals[row])
                assert batch.distilled[i] == (whole or len(document) <= SHORT_TOKENS)
        if batch.distilled is None:
            assert len(batch.documents.values) <= HAYSTACK_TOKENS + 4 * len(batch.documents)
    assert shapes == {"haystack", True, False}
    assert asked == {("code", True), ("code", False), ("text", True)}


def test_other_queries_follow_those_of_the_pairs():
    from batches import others_of

    assert others_of(np.array([1, 3, 3]), 4).tolist() == [[-1, -1], [4, -1], [-1, -1], [5, 6]]
    assert (others_of(np.empty(0, int), 4) == -1).all()


def test_more_queries_for_a_function():
    from rephrase import other_queries

    document = """def count_lines(path):
    \"\"\"Return the number of lines in the given file.\"\"\"
    return len(open(path).readlines())"""
    query = "python get number of lines in file"
    found = {q for s in range(20) for q in other_queries(query, document, 2, Random(s))}
    assert "Return the number of lines in the given file." in found
    assert any("count lines" in each for each in found)
    assert any("number" in each and "python" in each for each in found)
    assert query not in found
    assert all(len(other_queries(query, document, 2, Random(s))) == 2 for s in range(20))
    assert other_queries("x", "x = 1", 2, Random(0)) == []


def test_the_teacher_reads_long_texts_but_not_long_code():
    import teach
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(NANO / "tokenizer.json"))
    tokenizer.enable_truncation(teach.LONG_TOKENS)
    kinds = {"prose": "word " * 200, "section": "short", "function": "x = 1\n" * 200}
    rows = [{"kind": kind, "document": text} for kind, text in kinds.items()]
    teacher = SimpleNamespace(tokenizer=tokenizer)
    found = teach.long_texts(teacher, [*rows, {"kind": "prose", "query": "no document"}])
    assert found == [kinds["prose"], None, None, None]


def test_late_scores_are_mean_maxsim():
    from student import late_scores, matchable_rows

    torch.manual_seed(0)
    queries = Packed.from_sequences([[1, 2], [3, 4, 5]])
    documents = Packed.from_sequences([[10, 11, 12], [13], [14, 11]])
    q, d = (torch.nn.functional.normalize(torch.randn(n, 64), dim=1) for n in (5, 6))
    skipped = np.zeros(20, bool)
    skipped[11] = True
    rows = matchable_rows(documents, skipped)
    scores = late_scores(q, torch.from_numpy(queries.offsets), d, rows)
    for i, tokens in enumerate(([0, 1], [2, 3, 4])):
        for j, places in enumerate(([0, 2], [3], [4])):
            expected = np.mean([max(float(q[t] @ d[p]) for p in places) for t in tokens])
            assert scores[i, j].item() == pytest.approx(expected, abs=0.01)  # argmax in bfloat16


def test_neighbours_are_those_of_brute_force():
    from neighbours import nearest

    pairs = pairs_of(300)
    queries = pairs.teacher_queries[:300].copy()
    queries[7] = 0
    table = nearest(queries, pairs.teacher_documents, 8)
    asked = queries.astype(np.float32)
    asked[7] = pairs.teacher_documents[7]
    scores = asked @ pairs.teacher_documents.astype(np.float32).T
    np.fill_diagonal(scores, -2)
    expected = np.argsort(-scores, axis=1)[:, :8]
    assert np.mean([len(set(a) & set(b)) / 8 for a, b in zip(table, expected, strict=True)]) > 0.95
    assert not (table == np.arange(len(table))[:, None]).any()


def test_new_words_are_the_teachers_then_the_frequent_ones():
    from widen import new_words

    seen = Counter({"jargon": 9, "the": 99, "einval": 5, "a1": 50, "rare": 1})
    teachers = ["[CLS]", "##ing", "the", "steady", "Wings", "wings"]
    assert new_words({"the"}, teachers, seen, 4) == ["steady", "wings", "jargon", "einval"]
    assert new_words({"the"}, teachers, seen, 1) == ["steady"]


def test_rows_of_new_words_follow_the_teachers_vectors():
    from widen import predicted

    random = np.random.default_rng(0)
    known, new = random.normal(size=(2, 500, 40)).astype(np.float32)
    turn, shift = random.normal(size=(40, 8)), random.normal(size=8)
    rows, expected = known @ turn + shift, new @ turn + shift
    found = predicted(known, rows.astype(np.float32), new, strength=1e-3)
    scale = np.linalg.norm(rows, axis=1).mean() / np.linalg.norm(expected, axis=1).mean()
    np.testing.assert_allclose(found, expected * scale, atol=1e-2)


def test_more_words_leave_texts_without_them_as_they_were():
    import tokenizer
    from tokenizers import Tokenizer

    narrow = Tokenizer.from_file(str(NANO / "tokenizer.json"))
    vocabulary = narrow.get_vocab()
    wide = Tokenizer.from_file(str(NANO / "tokenizer.json"))
    wide.model = tokenizer.word_piece(vocabulary | {"quagmires": len(vocabulary)})
    text = "[Q] parse an ISO date, def parseISODate(text): quagmire éàü 1234"
    assert wide.encode(text).ids == narrow.encode(text).ids
    assert len(narrow.encode("quagmires").ids) > 3
    assert wide.encode("quagmires").ids == [2, len(vocabulary), 3]
    assert wide.decode(wide.encode("the Quagmires").ids) == "the quagmires"


def test_a_wider_nano_gives_texts_without_new_words_the_same_vectors(tmp_path, monkeypatch):
    import widen

    words = ["quagmires", "zigzagging", "flabbergasted"]
    size = len(json.loads((NANO / "tokenizer.json").read_text())["model"]["vocab"])
    random = np.random.default_rng(0)
    with gzip.open(tmp_path / "pairs.jsonl.gz", "wt") as file:
        text = " ".join(words[1:]) + " flabbergasted"
        file.write(json.dumps({"query": None, "document": text, "kind": "prose"}) + "\n")
    tokenizer = SimpleNamespace(get_vocab=lambda: {"[CLS]": 0, "the": 2, words[0]: 1})
    monkeypatch.setattr(widen, "MiniLM", lambda *_, **__: SimpleNamespace(tokenizer=tokenizer))
    monkeypatch.setattr(widen, "encode", lambda _, texts: random.normal(size=(len(texts), 384)))
    monkeypatch.setattr(widen, "VOCABULARY", size + 2)
    command = ["--data", str(tmp_path), "--start", str(NANO), "--out", str(tmp_path / "wide")]
    monkeypatch.setattr(sys, "argv", ["widen.py", *command])
    widen.main()
    nano, wide = (load_encoder(where) for where in ("nano", tmp_path / "wide"))
    for encode in ("encode_queries", "encode_documents"):
        for text, same in (("parse an ISO date", True), ("flabbergasted", False)):
            mine, expected = (getattr(encoder, encode)([text]).values for encoder in (wide, nano))
            assert (mine.shape == expected.shape) == same
            if same:
                np.testing.assert_allclose(mine, expected, atol=1e-6)
    assert [len(wide.tokenizer.token_ids(word)) == 1 for word in words] == [True, False, True]


@pytest.mark.slow  # minutes on a processor without AVX-512
@pytest.mark.timeout(1200)
def test_training_writes_an_encoder_and_resumes(tmp_path, monkeypatch):
    """A few steps from the shipped tokenizer, twice; the folder loads and ranks what it saw."""
    import train
    from student import nano_config

    random = np.random.default_rng(0)
    words = [
        "apple",
        "river",
        "engine",
        "cloud",
        "pepper",
        "window",
        "ladder",
        "violin",
        "copper",
        "tunnel",
    ]
    with gzip.open(tmp_path / "pairs.jsonl.gz", "wt") as file:
        for i in range(300):
            chosen = random.choice(words, 6, replace=False)
            row = {"query": f"{chosen[0]} {chosen[1]} {i}", "document": f"{' '.join(chosen)} {i}"}
            file.write(json.dumps(row | {"kind": ("function", "prose")[i % 2]}) + "\n")
    (tmp_path / "tokenizer").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "tokenizer" / name).write_bytes((NANO / name).read_bytes())
    (tmp_path / "teacher").mkdir()
    vectors = random.normal(size=(300, 384)).astype(np.float16)
    vocabulary = json.loads((NANO / "tokenizer.json").read_text())["model"]["vocab"]
    tokens = random.normal(size=(len(vocabulary), 384))
    np.save(tmp_path / "teacher" / "tokens.npy", tokens.astype(np.float16))
    for side in ("queries", "documents"):
        np.save(tmp_path / "teacher" / f"{side}-00000.npy", vectors / 19)
    monkeypatch.setattr("batches.SHORT_PAIRS", 16)
    monkeypatch.setattr("batches.LONG_SHARE", 0)
    monkeypatch.setattr("batches.HAYSTACK_SHARE", 0)
    monkeypatch.setattr(  # two layers instead of six: the slowest processors need seconds too
        train,
        "nano_config",
        lambda size: replace(nano_config(size), num_hidden_layers=2, global_layers=()),
    )

    def run(steps):
        command = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--steps", str(steps)]
        monkeypatch.setattr(sys, "argv", ["train.py", *command, "--workers", "1"])
        monkeypatch.setattr("batches.HELD_OUT", 20)
        threads = torch.get_num_threads()
        train.main()
        torch.set_num_threads(threads)
        return json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])

    first = run(25)
    assert first["step"] == 20
    second = run(60)
    assert second["step"] >= 45
    assert second["late"] < first["late"]
    encoder = load_encoder(tmp_path / "run" / "model")
    q = encoder.encode_queries(["violin copper"])
    d = encoder.encode_documents(["violin copper", "cloud window"])
    best = [(q.values @ document.T).max(axis=1).sum() for document in d]
    assert best[0] > best[1]
