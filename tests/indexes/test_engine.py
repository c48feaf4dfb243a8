"""What the engines share: options of a search, the k best, and files of vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbert_retrieval import InputError, Packed
from mbert_retrieval.indexes import EncoderIdentity, IndexFolder, Leg, flat
from mbert_retrieval.indexes.engine import (
    MergeSource,
    Tuning,
    VectorsWriter,
    merge_by_vectors,
    top_k,
)
from mbert_retrieval.indexes.validation import check_k
from support.index_model import LATE_FLAT, random_vectors


@given(st.lists(st.integers(-3, 3), max_size=20), st.integers(1, 25))
def test_top_k_is_the_k_highest_and_their_ties(scores, k):
    chosen = top_k(np.array(scores, dtype=np.float32), k).tolist()
    threshold = sorted(scores, reverse=True)[:k][-1] if scores else 0
    assert sorted(chosen) == [i for i, score in enumerate(scores) if score >= threshold]


def test_tuning_is_parsed_from_a_mapping():
    assert Tuning.parse({"candidates": np.int64(7)}) == Tuning(nprobe=None, candidates=7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probes": 3}, "unknown tuning option 'probes': use 'nprobe' or 'candidates'"),
        ({"nprobe": 0}, "nprobe must be an integer of at least 1, not 0"),
        ({"nprobe": "4"}, "nprobe must be an integer of at least 1, not '4'"),
        ({"candidates": 1.5}, "candidates must be an integer"),
    ],
)
def test_wrong_tuning_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        Tuning.parse(options)


@pytest.mark.parametrize("wrong", [[("nprobe", 3)], "nprobe", None])
def test_tuning_must_be_a_mapping(wrong):
    with pytest.raises(TypeError, match="tuning must be a mapping"):
        Tuning.parse(wrong)


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k):
    with pytest.raises(InputError, match="k must be at least 1"):
        check_k(k)


@pytest.mark.parametrize("k", ["10", 1.0, None])
def test_k_must_be_an_integer(k):
    with pytest.raises(TypeError, match="k must be an integer"):
        check_k(k)


def one_query() -> Packed:
    return Packed.from_rows(np.ones((1, 8), np.float32))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder: folder.search_vectors(np.ones((1, 8)), 3), "queries must be a Packed"),
        (lambda folder: folder.search_vectors(one_query(), 3, where={"n": 1}), "must be text"),
        (lambda folder: folder.search_lexical("words", 3), "texts must be a list of strings"),
        (lambda folder: folder.passages("a"), "ids must be a list of strings"),
        (lambda folder: folder.writer().delete("a"), "ids must be a list of strings"),
        (lambda folder: folder.writer().add(["a"], {}), "must be Passage objects, not str"),
    ],
)
def test_a_wrong_type_is_one_clear_error(tmp_path, call, message):
    folder = IndexFolder.create(tmp_path / "index", legs=[LATE_FLAT], lexical=True)
    with pytest.raises(TypeError, match=message):
        call(folder)


@given(
    lengths=st.lists(st.lists(st.integers(1, 5), max_size=4), max_size=4),
    seed=st.integers(0, 2**16),
)
def test_vectors_that_are_written_in_pieces_are_read_back(tmp_path_factory, lengths, seed):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("vectors")
    writer = VectorsWriter(folder, 3)
    pieces = [
        Packed(
            rng.standard_normal((sum(piece), 3)).astype(np.float32),
            np.cumsum([0, *piece], dtype=np.int64),
        )
        for piece in lengths
    ]
    for piece in pieces:
        writer.append(piece)
    together = [length for piece in lengths for length in piece]
    assert writer.finish().tolist() == together
    stored = flat.load(folder, len(together), sum(together), 3).passages
    rows = [piece.values for piece in pieces]
    assert np.array_equal(stored.values, np.concatenate([np.zeros((0, 3), np.float32), *rows]))
    assert stored.lengths.tolist() == together


@given(
    seed=st.integers(0, 2**16), step=st.integers(1, 7), counts=st.tuples(*[st.integers(1, 9)] * 2)
)
def test_merging_writes_exactly_the_live_passages_in_order(tmp_path_factory, seed, step, counts):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("merged")
    leg = Leg(EncoderIdentity("toy", "00", "late", 8), "flat")
    sources, expected = [], []
    for count in counts:
        passages = random_vectors(rng, count)
        live = rng.random(count) < 0.6
        vectors = flat.FlatVectors(Packed.from_sequences(passages))
        sources.append(MergeSource(folder, vectors, live))
        expected += [rows for rows, is_live in zip(passages, live, strict=True) if is_live]
    merge_by_vectors(folder, leg, sources, flat.build, step)
    vectors = sum(map(len, expected))
    merged = flat.load(folder, len(expected), vectors, 8).passages
    assert len(merged) == len(expected)
    assert all(np.array_equal(a, b) for a, b in zip(merged, expected, strict=True))


@pytest.mark.parametrize("most", [1, 2, 3])
def test_flat_search_limits_the_queries_of_a_chunk(most):
    queries = Packed.from_rows(np.ones((5, 8), np.float32))
    chunks = list(flat._chunks(queries, most))
    assert max(last - first for first, last in chunks) == most
    assert [n for first, last in chunks for n in range(first, last)] == list(range(5))
