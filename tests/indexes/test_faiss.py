"""FAISS indexes of a segment: near exact search, under any filter, and as large as wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval import InputError, Packed
from mbert_retrieval.indexes import EncoderIdentity, Leg, faiss_factory, faiss_search
from mbert_retrieval.indexes import faiss_engine as dense
from mbert_retrieval.indexes.engine import MergeSource, Tuning

DIMENSION, ROWS = 32, 3000
FACTORIES = [
    "Flat",
    "SQ8",
    "HNSW16,Flat",
    "HNSW16,SQfp16",
    "OPQ16,HNSW16,SQ8",
    "IVF16,Flat",
    "IVF16,SQ8",
    "IVF16,PQ16x6,Refine(SQfp16)",
    "OPQ16,IVF16,PQ16x6,RFlat",
    "IVF16,RaBitQ,RFlat",
    "RR32,SQ8",
]


def leg(factory: str | None = None) -> Leg:
    encoder = EncoderIdentity("toy", "00ff", "dense", DIMENSION)
    return Leg(encoder, "faiss", {"factory": factory} if factory else {})


def clustered(count: int, seed: int) -> np.ndarray:
    """(count, DIMENSION) float32, unit norm, around centres that are always the same."""
    centres = np.random.default_rng(1).standard_normal((40, DIMENSION))
    rng = np.random.default_rng(seed)
    rows = centres[rng.integers(0, 40, count)] + 0.5 * rng.standard_normal((count, DIMENSION))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def built(folder: Path, rows: np.ndarray, factory: str | None):
    np.save(folder / "vectors.npy", rows)
    np.save(folder / "offsets.npy", np.arange(len(rows) + 1))
    dense.build(folder, leg(factory), [])
    return dense.load(folder, len(rows), len(rows), DIMENSION)


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    rows = clustered(ROWS, 2)
    return rows, {
        factory: built(tmp_path_factory.mktemp("dense"), rows, factory) for factory in FACTORIES
    }


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_factory_is_the_one_that_was_set(engines, factory):
    rows, by_factory = engines
    engine = by_factory[factory]
    assert engine.facts() == {"engine": factory}
    read = engine.read(100, 140)
    assert len(read) == 40
    assert np.abs(read.values - rows[100:140]).max() < 0.02


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("share", [1.0, 0.6, 0.05, 0.002])
@pytest.mark.parametrize("patience", [50, 0])
def test_nearly_exact_under_any_filter(engines, factory, share, patience, monkeypatch):
    """patience 0: graphs are walked even where a scan would cost less."""
    monkeypatch.setattr(faiss_search, "ROWS_PER_CANDIDATE", patience)
    rows, by_factory = engines
    live = np.random.default_rng(3).random(ROWS) < share
    queries = clustered(20, 4)
    k = min(10, int(live.sum()))
    results = by_factory[factory].search(Packed.from_rows(queries), live, k)
    hits = 0
    for query, (positions, scores) in zip(queries, results, strict=True):
        assert len(set(positions.tolist())) == len(positions) >= k
        assert live[positions].all()
        np.testing.assert_allclose(scores, rows[positions] @ query, atol=0.02)
        exact = np.where(live, rows @ query, -np.inf)
        hits += len(set(np.argsort(-exact)[:k].tolist()) & set(positions.tolist()))
    assert hits >= 0.9 * k * len(queries)


@settings(max_examples=60, deadline=None)
@given(
    factory=st.sampled_from(FACTORIES),
    live=st.one_of(st.integers(0, 40), st.integers(0, ROWS)),
    k=st.one_of(st.integers(1, 30), st.integers(1, 2 * ROWS)),
    tuning=st.fixed_dictionaries(
        {}, optional={"nprobe": st.integers(1, 99), "candidates": st.integers(1, 5000)}
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_as_many_as_there_are(engines, factory, live, k, tuning, seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros(ROWS, bool)
    mask[rng.choice(ROWS, live, replace=False)] = True
    queries = Packed.from_rows(rng.standard_normal((2, DIMENSION)).astype(np.float32))
    for positions, scores in engines[1][factory].search(queries, mask, k, Tuning(**tuning)):
        assert len(positions) == len(scores) >= min(k, live)
        assert len(set(positions.tolist())) == len(positions)
        assert mask[positions].all()
        assert np.isfinite(scores).all()


def test_the_index_gpositionswith_the_segment(tmp_path, monkeypatch):
    monkeypatch.setattr(faiss_factory, "EXACT_BELOW", 500)
    monkeypatch.setattr(faiss_factory, "GRAPH_BELOW", 2000)
    rows = clustered(ROWS, 5)
    kinds = []
    for count in (499, 1999, 3000):
        (tmp_path / str(count)).mkdir()
        engine = built(tmp_path / str(count), rows[:count], None)
        kinds.append(engine.facts()["engine"].split(",")[0][:4])
        query = Packed.from_rows(rows[7:8])
        positions, _ = engine.search(query, np.ones(count, bool), 1)[0]
        assert positions[0] == 7
    assert kinds == ["exac", "HNSW", "IVF2"]


def test_too_few_to_train_on_are_searched_exactly(tmp_path):
    engine = built(tmp_path, clustered(10, 6), "IVF16,SQ8")
    assert engine.facts() == {"engine": "exact"}


def test_merging_keeps_the_live_in_order(engines, tmp_path):
    rows, by_factory = engines
    masks = [np.random.default_rng(n).random(ROWS) < 0.5 for n in (1, 2)]
    sources = [
        MergeSource(tmp_path, by_factory[name], mask)
        for name, mask in zip(FACTORIES, masks, strict=False)
    ]
    dense.merge(tmp_path, leg("Flat"), sources)
    live = np.concatenate([rows[mask] for mask in masks])
    merged = dense.load(tmp_path, len(live), len(live), DIMENSION)
    assert np.abs(merged.read(0, len(live)).values - live).max() < 0.02


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("PQ16x4fs", "under a filter"),
        ("IVF16,PQ16x4fs", "under a filter"),
        ("NSG16", "under a filter"),
        ("IDMap,Flat", "under a filter"),
        ("PCA16,Flat", "changes inner products"),
        ("L2norm,Flat", "changes inner products"),
        ("OPQ16,IVF16,PQ16,RFlat", ""),
    ],
)
def test_what_gives_other_results_is_refused(factory, message):
    if not message:
        dense.check(leg(factory))
        return
    with pytest.raises(InputError, match=message):
        dense.check(leg(factory))
