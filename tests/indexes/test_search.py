"""Vector search against brute force."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbert_retrieval import InputError, Packed, Passage
from mbert_retrieval.indexes import IndexFolder, Leg, flat
from support.index_model import (
    DENSE,
    DENSE_FLAT,
    DENSE_GRAPH,
    DENSE_SMALL,
    DIMENSION,
    LATE_FLAT,
    assert_same_ranking,
    brute_force,
    max_sim,
    random_vectors,
)

DENSE_LISTS = Leg(DENSE, "faiss", {"factory": "IVF2,Flat"})
ENGINES = [LATE_FLAT, DENSE_FLAT, DENSE_SMALL, DENSE_GRAPH, DENSE_LISTS]


def ragged(seed: int, lengths: list[int], grid: bool) -> Packed:
    """Vectors of these lengths; on a coarse grid scores are exact and often tie."""
    rng = np.random.default_rng(seed)
    shape = (sum(lengths), DIMENSION)
    values = rng.integers(-2, 3, shape) if grid else rng.standard_normal(shape)
    return Packed(values.astype(np.float32), np.cumsum([0, *lengths]))


some_lengths = st.lists(st.integers(1, 9), min_size=1, max_size=12)


@given(
    seed=st.integers(0, 2**32 - 1),
    queries=some_lengths,
    passages=some_lengths,
    dead=st.sets(st.integers(0, 11)),
    k=st.integers(1, 15),
    grid=st.booleans(),
    block=st.sampled_from([1, 3, 10, 8192]),
    chunk=st.sampled_from([1, 5, 512]),
)
def test_flat_is_exact_max_sim(seed, queries, passages, dead, k, grid, block, chunk):
    query, passage = ragged(seed, queries, grid), ragged(seed + 1, passages, grid)
    live = np.array([place not in dead for place in range(len(passages))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flat, "BLOCK_VECTORS", block)
        patch.setattr(flat, "CHUNK_VECTORS", chunk)
        found = flat.FlatVectors(passage).search(query, live, k)
    assert len(found) == len(queries)
    for vectors, (places, scores) in zip(query, found, strict=True):
        exact = {i: max_sim(vectors, passage[i]) for i in np.flatnonzero(live)}
        got = dict(zip(places.tolist(), scores.tolist(), strict=True))
        assert all(abs(score - exact[place]) < 1e-4 for place, score in got.items())
        if grid:  # all that tie with the k-th, and no other
            kth = sorted(exact.values(), reverse=True)[: min(k, len(exact))][-1:]
            assert got.keys() == {i for i, score in exact.items() if score >= min(kth)}
        else:
            expected = sorted(exact.values(), reverse=True)[:k]
            assert np.allclose(sorted(got.values(), reverse=True)[:k], expected, atol=1e-4)


def filled(path, leg, sequences, batches=1) -> IndexFolder:
    """An index of passages d000, d001, ... with metadata n, in several commits."""
    folder = IndexFolder.create(path, legs=[leg], lexical=True)
    ids = [f"d{number:03}" for number in range(len(sequences))]
    with folder.writer() as writer:
        for part in np.array_split(np.arange(len(sequences)), batches):
            writer.add(
                [Passage(ids[n], f"text {n}", metadata={"n": int(n)}) for n in part],
                {leg.name: Packed.from_sequences([sequences[n] for n in part])},
            )
            writer.commit()
    return folder


@pytest.mark.parametrize("batches", [1, 4])
def test_late_index_equals_brute_force(tmp_path, batches):
    rng = np.random.default_rng(1)
    sequences = random_vectors(rng, 50)
    folder = filled(tmp_path / "index", LATE_FLAT, sequences, batches)
    queries = random_vectors(rng, 6)
    model = {f"d{n:03}": (Passage("", ""), vectors) for n, vectors in enumerate(sequences)}
    for query, found in zip(
        queries, folder.search_vectors(Packed.from_sequences(queries), k=7), strict=True
    ):
        assert_same_ranking(found, brute_force(query, model, 7))


@pytest.mark.parametrize("leg", [DENSE_FLAT, DENSE_SMALL, DENSE_GRAPH, DENSE_LISTS])
@pytest.mark.parametrize("batches", [1, 3])
def test_dense_index_equals_faiss(tmp_path, leg, batches):
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((60, DIMENSION)).astype(np.float32)
    folder = filled(tmp_path / "index", leg, [row[None] for row in rows], batches)
    queries = rng.standard_normal((5, DIMENSION)).astype(np.float32)
    reference = faiss.IndexFlatIP(DIMENSION)
    reference.add(rows)
    scores, places = reference.search(queries, 9)
    for found, row, place in zip(
        folder.search_vectors(Packed.from_rows(queries), k=9), scores, places, strict=True
    ):
        assert [id for id, _ in found] == [f"d{number:03}" for number in place]
        assert np.allclose([score for _, score in found], row, atol=1e-5)


@pytest.mark.parametrize("leg", ENGINES)
def test_deleted_and_filtered_passages_are_never_returned(tmp_path, leg):
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((30, DIMENSION)).astype(np.float32)
    folder = filled(tmp_path / "index", leg, [row[None] for row in rows], 3)
    with folder.writer() as writer:
        writer.delete([f"d{n:03}" for n in range(0, 30, 3)])
        writer.commit()
    query = Packed.from_rows(rows[:2])
    everything = folder.search_vectors(query, k=1000)
    left = {f"d{n:03}" for n in range(30) if n % 3}
    assert [{id for id, _ in found} for found in everything] == [left, left]
    # a filter is applied before the search: k of those allowed, with the scores they had
    for found, all_found in zip(
        folder.search_vectors(query, k=4, where="n >= 20"), everything, strict=True
    ):
        allowed = [hit for hit in all_found if int(hit[0][1:]) >= 20]
        assert_same_ranking(found, allowed[:4], tolerance=1e-5)
    assert folder.search_vectors(query, k=4, where="n > 1000") == [[], []]


@pytest.mark.parametrize("leg", ENGINES)
def test_equal_scores_come_by_id(tmp_path, leg):
    folder = IndexFolder.create(tmp_path / "index", legs=[leg], lexical=False)
    ids = ["m", "b", "z", "a", "k"]
    with folder.writer() as writer:
        for part in (ids[:2], ids[2:]):
            rows = {leg.name: Packed.from_rows(one(len(part)))}
            writer.add([Passage(id, "x") for id in part], rows)
            writer.commit()
    found = folder.search_vectors(Packed.from_rows(one(1)), k=5)[0]
    assert [id for id, _ in found] == sorted(ids)
    if leg is not DENSE_LISTS:  # also at the cut
        assert folder.search_vectors(Packed.from_rows(one(1)), k=2)[0] == found[:2]


def one(count: int) -> np.ndarray:
    return np.ones((count, DIMENSION), dtype=np.float32)


def test_stored_vectors_are_exactly_those_given(tmp_path):
    """A query of one unit coordinate reads a coordinate back, to the last bit."""
    rows = np.random.default_rng(4).standard_normal((20, DIMENSION)).astype(np.float32)
    folder = filled(tmp_path / "index", DENSE_FLAT, [row[None] for row in rows])
    found = folder.search_vectors(Packed.from_rows(np.eye(DIMENSION, dtype=np.float32)), k=20)
    for coordinate, ranking in enumerate(found):
        assert all(score == rows[int(id[1:]), coordinate] for id, score in ranking)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (Packed.from_rows(np.ones((1, DIMENSION + 1), np.float32)), "dimension 8"),
        (Packed.from_rows(np.full((1, DIMENSION), np.nan, np.float32)), "query 1 .* NaN"),
        (Packed(one(1), np.array([0, 1, 1])), "query 2 has no vectors"),
        (Packed.from_rows(np.ones((1, DIMENSION), np.int64)), "floating-point"),
        (Packed(one(2), np.array([0, 2])), "dense encoder makes one"),
    ],
)
def test_bad_queries_are_refused(tmp_path, queries, message):
    folder = filled(tmp_path / "index", DENSE_FLAT, [one(1)])
    with pytest.raises(InputError, match=message):
        folder.search_vectors(queries, k=3)


def test_k_must_be_positive(tmp_path):
    folder = filled(tmp_path / "index", DENSE_FLAT, [one(1)])
    with pytest.raises(InputError, match="k must be at least 1"):
        folder.search_vectors(Packed.from_rows(one(1)), k=0)
    with pytest.raises(InputError, match="k must be at least 1"):
        folder.search_lexical(["text"], k=0)


def test_an_empty_index_finds_nothing(tmp_path):
    folder = IndexFolder.create(tmp_path / "index", legs=[LATE_FLAT], lexical=True)
    assert folder.search_vectors(Packed.from_rows(one(2)), k=3) == [[], []]
    assert folder.search_lexical(["text"], k=3) == [[]]
    assert folder.verify() == []
    assert len(folder) == 0
