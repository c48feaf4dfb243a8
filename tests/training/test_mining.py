"""Hard-negative mining, against rankings worked out by hand and by plain numpy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbert_retrieval import InputError, load_encoder
from mbert_retrieval.training.mining import MineRecipe, MiningOptions, candidates, mine
from support.training_data import NOUNS, write_bare, write_jsonl

CORPUS = [f"{NOUNS[i % 7]} the {NOUNS[(i * 3) % 5]} of x{i}" for i in range(40)]
ROWS = [{"query": f"to {CORPUS[i]}", "positive": CORPUS[i]} for i in range(0, 20, 2)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_encoder_folder):
    return {"dense": write_bare(tmp_path_factory.mktemp("bare")), "late": tiny_encoder_folder}


@pytest.fixture
def data(tmp_path):
    write_jsonl(
        tmp_path / "corpus.jsonl", [{"_id": str(i), "text": t} for i, t in enumerate(CORPUS)]
    )
    return write_jsonl(tmp_path / "rows.jsonl", ROWS)


def recipe(data, encoder, **mining):
    place = data.parent
    mining = {"corpus": str(place / "corpus.jsonl"), "output": str(place / "out.jsonl")} | mining
    raw = {"data": {"train": str(data)}, "mining": {"encoder": str(encoder)} | mining}
    return MineRecipe.parse(raw)


def written(mined):
    return [json.loads(line) for line in mined.output.read_text(encoding="utf-8").splitlines()]


def brute_scores(folder):
    """(rows, corpus) scores by plain numpy."""
    encoder = load_encoder(folder)
    queries = encoder.encode_queries([row["query"] for row in ROWS])
    documents = encoder.encode_documents(CORPUS)
    return np.array([[(q @ d.T).max(1).sum() for d in documents] for q in queries])


@pytest.mark.parametrize("kind", ["dense", "late"])
def test_negatives_are_the_best_ranked_that_are_no_answer(data, folders, kind):
    mined = mine(recipe(data, folders[kind], negatives=4, skip=1, depth=30))
    rows = written(mined)
    assert (mined.rows, mined.short) == (len(ROWS), 0)
    for row, expected, scores in zip(rows, ROWS, brute_scores(folders[kind]), strict=True):
        assert (row["query"], row["positive"]) == (expected["query"], expected["positive"])
        values = dict(zip(CORPUS, scores, strict=True))
        del values[expected["positive"]]
        ranked = sorted(values.values(), reverse=True)[1:5]
        np.testing.assert_allclose([values[t] for t in row["negatives"]], ranked, atol=1e-4)


@pytest.mark.parametrize("kind", ["dense", "late"])
def test_the_margin_keeps_what_stays_below_the_positive(data, folders, kind):
    scores = brute_scores(folders[kind])
    own = np.array([scores[i, CORPUS.index(row["positive"])] for i, row in enumerate(ROWS)])
    spread = float(np.median(own[:, None] - scores))
    mined = mine(recipe(data, folders[kind], negatives=2, depth=39, margin=spread))
    enough = [(row <= limit).sum() >= 2 for row, limit in zip(scores, own - spread, strict=True)]
    assert mined.rows == sum(enough)
    assert mined.short == len(ROWS) - sum(enough)
    by_query = {row["query"]: i for i, row in enumerate(ROWS)}
    for row in written(mined):
        i = by_query[row["query"]]
        for text in row["negatives"]:
            assert scores[i, CORPUS.index(text)] <= own[i] - spread + 1e-4


def test_all_answers_of_a_query_are_left_out(tmp_path, folders):
    rows = [{"query": "to read", "positive": text} for text in CORPUS[:5]]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    raw = {
        "data": {"train": str(data)},
        "mining": {
            "encoder": str(folders["dense"]),
            "output": str(tmp_path / "out.jsonl"),
            "negatives": 1,
            "depth": 5,
        },
    }
    assert mine(MineRecipe.parse(raw)).short == 5
    write_jsonl(data, [*rows, {"query": "other", "positive": CORPUS[9]}])
    mined = mine(MineRecipe.parse(raw))
    for row in written(mined):
        assert row["negatives"] == [CORPUS[9]] or row["query"] == "other"


def test_a_teacher_drops_false_negatives_and_writes_its_scores(data, folders):
    def teacher(pairs):  # shorter documents are better answers
        return [-len(document) for _, document in pairs]

    options = recipe(data, folders["dense"], negatives=2, depth=39, cross_margin=1.0)
    for row in written(mine(options, teacher)):
        assert all(len(text) >= len(row["positive"]) + 1 for text in row["negatives"])
    options = recipe(data, folders["dense"], negatives=2, depth=39, cross_encoder="x", scores=True)
    rows = written(mine(options, teacher))
    assert rows
    for row in rows:
        assert row["scores"] == [-len(text) for text in row["documents"]]
        assert row["scores"][0] == max(row["scores"])


def test_mined_rows_are_training_rows(data, folders, tmp_path):
    from mbert_retrieval.training.dataset import read_examples
    from mbert_retrieval.training.recipe import DataOptions

    mined = mine(recipe(data, folders["dense"], negatives=3))
    examples = list(read_examples(DataOptions(str(mined.output))))
    assert [e.query for e in examples] == [row["query"] for row in ROWS]
    assert all(len(e.documents) == 4 for e in examples)


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 1)), max_size=20),
    st.sets(st.sampled_from("abc")),
    st.integers(0, 3),
)
def test_candidates_are_the_ranks_after_skip_up_to_depth(ranked, positives, skip):
    options = MiningOptions(skip=skip, depth=9)
    others = [text for text, _ in ranked if text not in positives]
    expected = list(dict.fromkeys(others[skip:9]))
    assert candidates(ranked, positives, 1.0, options) == expected


RANKED = [("a", 9.0), ("b", 7.5), ("c", 6.5), ("d", 6.0), ("e", 5.0)]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "abcde"),
        ({"margin": 1.5}, "cde"),  # at most 8 - 1.5
        ({"relative_margin": 0.25}, "de"),  # at most 8 * 0.75
        ({"max_score": 5.5}, "e"),
        ({"margin": 0.25, "relative_margin": 0.25, "max_score": 7.0}, "de"),
    ],
)
def test_a_candidate_scores_below_every_margin(filters, expected):
    assert candidates(RANKED, set(), 8.0, MiningOptions(**filters)) == list(expected)


@pytest.mark.parametrize(
    ("mining", "message"),
    [
        ({"output": ""}, "mining.output is missing"),
        ({"negatives": 0}, "mining.negatives must be at least 1"),
        ({"skip": 98}, "raise mining.depth"),
        ({"scores": True}, "needs mining.cross_encoder"),
        ({"marign": 1}, "mining.marign is unknown"),
    ],
)
def test_mistakes_are_named(data, mining, message):
    with pytest.raises(InputError, match=message):
        recipe(data, "nano", **mining)


def test_a_bad_row_stops_it_and_leaves_no_file(data, folders):
    data.write_text(data.read_text() + '{"query": "q"}\n')
    with pytest.raises(InputError, match=r"rows.jsonl:11: no 'positive'"):
        mine(recipe(data, folders["dense"]))
    assert not (data.parent / "out.jsonl").exists()
