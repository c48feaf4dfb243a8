"""The multi-vector engine against brute force, numpy and its own definition written out slowly."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval import InputError, Packed
from mbert_retrieval.indexes import flat, plaid
from mbert_retrieval.indexes.engine import MergeSource, Tuning, VectorsWriter
from mbert_retrieval.indexes.manifest import EncoderIdentity, Leg
from mbert_retrieval.indexes.plaid import building, segment
from mbert_retrieval.indexes.plaid.building import centroid_count
from mbert_retrieval.indexes.plaid.codec import BITS, load_codec
from mbert_retrieval.indexes.plaid.segment import candidate_count
from support.index_model import max_sim
from support.plaid_collections import clustered, collection
from support.tiers import TIERS, kernels_of


def leg(dimension: int, **chosen) -> Leg:
    return Leg(EncoderIdentity("toy", "00", "late", dimension), "plaid", chosen)


def written(folder: Path, passages: Packed) -> Path:
    folder.mkdir(parents=True)
    writer = VectorsWriter(folder, passages.values.shape[1])
    writer.append(passages)
    writer.finish()
    return folder


def opened(folder: Path, passages: Packed):
    return plaid.load(folder, len(passages), len(passages.values), passages.values.shape[1])


@pytest.fixture
def compress_all(monkeypatch):
    """So that small segments are compressed too."""
    monkeypatch.setattr(building, "EXACT_PASSAGES", 1)


@pytest.fixture(params=TIERS)
def each_tier(request, monkeypatch):
    monkeypatch.setattr(segment, "kernels", kernels_of(request.param))


def ranked(results: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, float]]:
    numbers, scores = results
    return sorted(
        zip(numbers.tolist(), scores.tolist(), strict=True), key=lambda hit: (-hit[1], hit[0])
    )


def overlap(
    results: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray], k: int
):
    best = [{row for row, _ in ranked(each)[:k]} for each in (results, expected)]
    return len(best[0] & best[1]) / k


# ------------------------------------------------------------------------------------------ search


@given(
    seed=st.integers(0, 2**16),
    bits=st.sampled_from(BITS),
    dimension=st.sampled_from([1, 3, 16, 48, 50, 96, 128, 130]),
    passages=st.integers(1, 60),
    rows=st.integers(1, 70),
    k=st.integers(1, 80),
)
@settings(max_examples=60, deadline=None)
def test_scores_are_max_sim_of_the_decoded_vectors(
    tmp_path_factory, seed, bits, dimension, passages, rows, k
):
    """All passages scored: the ranking is brute force over what the codec remembers."""
    rng = np.random.default_rng(seed)
    packed = collection(rng, passages, dimension)
    folder = written(tmp_path_factory.mktemp("p") / "s", packed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "EXACT_PASSAGES", 1)
        plaid.build(folder, leg(dimension, nbits=bits), [])
    engine = opened(folder, packed)
    live = rng.random(passages) < 0.8
    query = rng.standard_normal((rows, dimension)).astype(np.float32)
    remembered = engine.read(0, passages)
    expected = {row: max_sim(query, remembered[row]) for row in np.flatnonzero(live).tolist()}
    for tier in TIERS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(segment, "kernels", kernels_of(tier))
            engine.__dict__.pop("_for_kernels", None)
            (results,) = engine.search(Packed.from_sequences([query]), live, k)
        hits = ranked(results)[:k]
        assert len(hits) == min(k, len(expected))
        best = sorted(expected.values(), reverse=True)
        # query vectors are rounded to 8 bits: 0.4 % of the longest component, at random
        tolerance = 0.02 * float(np.abs(query).max()) * dimension**0.5 * rows * 0.5 + 1e-4
        for (row, score), wanted in zip(hits, best, strict=False):
            assert abs(score - expected[row]) < tolerance
            assert abs(score - wanted) < 2 * tolerance


@pytest.mark.parametrize("dimension", [48, 128, 768, 1024])
def test_finds_what_brute_force_finds(tmp_path, dimension, each_tier):
    rng = np.random.default_rng(dimension)
    passages = collection(rng, 2100, dimension, longest=12 if dimension < 500 else 3, words=400)
    folder = written(tmp_path / "s", passages)
    exact = flat.load(folder, len(passages), len(passages.values), dimension)
    live = np.ones(len(passages), bool)
    sources = rng.integers(0, len(passages), 10)
    queries = passages.select(sources)
    wanted = exact.search(queries, live, 10)
    plaid.build(folder, leg(dimension), [])
    assert not (folder / "vectors.npy").exists()
    results = opened(folder, passages).search(queries, live, 10)
    recall = [overlap(mine, theirs, 10) for mine, theirs in zip(results, wanted, strict=True)]
    assert np.mean(recall) >= 0.9
    first = [ranked(each)[0][0] for each in results]
    assert np.mean(np.array(first) == sources) >= 0.9


def test_one_query_and_a_batch_find_the_same(tmp_path, compress_all):
    rng = np.random.default_rng(7)
    passages = collection(rng, 600, 64)
    folder = written(tmp_path / "s", passages)
    plaid.build(folder, leg(64), [])
    engine = opened(folder, passages)
    queries = collection(rng, 9, 64, longest=40)
    live = rng.random(600) < 0.9
    tuning = Tuning(nprobe=2, candidates=50)
    together = engine.search(queries, live, 20, tuning)
    for n in range(len(queries)):
        (alone,) = engine.search(Packed.from_sequences([queries[n]]), live, 20, tuning)
        assert ranked(alone) == ranked(together[n])
        assert set(alone[0].tolist()) <= set(np.flatnonzero(live).tolist())


@pytest.mark.parametrize("k", [1, 20, 100, 599, 600, 5000])
@pytest.mark.parametrize("allowed", [0, 1, 7, 300, 600])
def test_as_many_hits_as_are_allowed_whatever_is_probed(tmp_path, compress_all, k, allowed):
    rng = np.random.default_rng(8)
    passages = collection(rng, 600, 32, words=600)
    folder = written(tmp_path / "s", passages)
    plaid.build(folder, leg(32), [])
    live = np.zeros(600, bool)
    live[rng.choice(600, allowed, replace=False)] = True
    queries = collection(rng, 3, 32, longest=2, words=600)
    results = opened(folder, passages).search(queries, live, k, Tuning(nprobe=1, candidates=1))
    for numbers, _ in results:
        assert len(numbers) == len(set(numbers.tolist())) == min(k, allowed)
        assert live[numbers].all()


def test_more_work_finds_more(tmp_path, compress_all):
    rng = np.random.default_rng(9)
    passages = collection(rng, 1500, 64, words=800)
    folder = written(tmp_path / "s", passages)
    exact = flat.load(folder, 1500, len(passages.values), 64)
    queries, live = collection(rng, 20, 64, 10, words=800), np.ones(1500, bool)
    wanted = exact.search(queries, live, 10)
    plaid.build(folder, leg(64), [])
    engine = opened(folder, passages)

    def recall(**tuning):
        results = engine.search(queries, live, 10, Tuning(**tuning))
        return np.mean(
            [overlap(mine, best, 10) for mine, best in zip(results, wanted, strict=True)]
        )

    assert recall(candidates=12) < recall(candidates=1500)
    assert recall(candidates=1500) > 0.9


def test_settings_are_used(tmp_path, compress_all):
    passages = collection(np.random.default_rng(10), 300, 32)
    sizes = {}
    for bits in BITS:
        folder = written(tmp_path / str(bits), passages)
        plaid.build(folder, leg(32, nbits=bits, centroids=17), [])
        facts = opened(folder, passages).facts()
        assert facts["nbits"] == bits
        assert facts["centroids"] == 17
        sizes[bits] = np.load(folder / "residuals.npy").nbytes / len(passages.values)
    assert sizes == {1: 4, 2: 8, 4: 16, 8: 32}


@pytest.mark.parametrize(
    "wrong", [{"nbits": 3}, {"nbits": "4"}, {"centroids": 0}, {"centroids": 1.5}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        plaid.check(leg(32, **wrong))
    plaid.check(leg(32, nbits=2, centroids=100))


def test_parameters_grow_with_the_collection():
    counts = [centroid_count(n) for n in (1, 1000, 10**6, 10**7)]
    assert counts == sorted(counts)
    assert counts[2] == 4096  # 8 sqrt(10^6) is 8,000
    assert candidate_count(10_000, 10) == 1024
    assert candidate_count(10_000, 1000) == 4000
    assert candidate_count(10**6, 10) == 10_240


# ---------------------------------------------------------------------------- small, merged, shared


def test_a_small_segment_is_exact(tmp_path):
    passages = collection(np.random.default_rng(11), building.EXACT_PASSAGES - 1, 16, longest=2)
    folder = written(tmp_path / "s", passages)
    plaid.build(folder, leg(16), [])
    assert isinstance(opened(folder, passages), flat.FlatVectors)
    assert np.array_equal(np.load(folder / "vectors.npy"), passages.values)


def test_merging_equal_codecs_copies_and_keeps_only_the_living(tmp_path, compress_all):
    rng = np.random.default_rng(12)
    first, second = collection(rng, 400, 32), collection(rng, 300, 32)
    one, two = written(tmp_path / "1", first), written(tmp_path / "2", second)
    plaid.build(one, leg(32), [])
    plaid.build(two, leg(32), [one])
    assert os.path.samefile(one / "centroids.npy", two / "centroids.npy")
    engines = [opened(one, first), opened(two, second)]
    lives = [rng.random(400) < 0.7, rng.random(300) < 0.7]
    (tmp_path / "m").mkdir()
    sources = [MergeSource(one, engines[0], lives[0]), MergeSource(two, engines[1], lives[1])]
    plaid.merge(tmp_path / "m", leg(32), sources)
    living = Packed.concatenate(
        [
            engine.read(0, len(live)).select(np.flatnonzero(live))
            for engine, live in zip(engines, lives, strict=True)
        ]
    )
    merged = opened(tmp_path / "m", living)
    assert np.array_equal(merged.read(0, len(living)).values, living.values)
    assert np.array_equal(merged.offsets, living.offsets)
    for centroid in range(len(merged.codec.centroids)):
        begin, end = merged.list_bounds[centroid : centroid + 2]
        holders = [
            p
            for p in range(len(living))
            if centroid in merged.codes[living.offsets[p] : living.offsets[p + 1]]
        ]
        assert merged.lists[begin:end].tolist() == holders


def test_codec_is_refitted_when_the_vectors_have_drifted(tmp_path, compress_all):
    rng = np.random.default_rng(13)
    first = collection(rng, 400, 32)
    one = written(tmp_path / "1", first)
    plaid.build(one, leg(32), [])
    alike = Packed(first.values[::-1].copy(), np.arange(len(first.values) + 1, dtype=np.int64))
    other = collection(np.random.default_rng(99), 400, 32, words=300)
    for name, passages, shared in (("alike", alike, True), ("other", other, False)):
        folder = written(tmp_path / name, passages)
        plaid.build(folder, leg(32), [one])
        assert os.path.samefile(one / "centroids.npy", folder / "centroids.npy") == shared
    small = opened(tmp_path / "other", other)
    assert small.codec.error_on(other.values) < load_codec(one, 32).error_on(other.values)


def test_merging_exact_segments_compresses_when_there_are_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "EXACT_PASSAGES", 500)
    rng = np.random.default_rng(14)
    halves = [collection(rng, 300, 32) for _ in range(2)]
    sources = []
    for n, half in enumerate(halves):
        folder = written(tmp_path / str(n), half)
        plaid.build(folder, leg(32), [])
        sources.append(MergeSource(folder, opened(folder, half), np.ones(300, bool)))
    (tmp_path / "all").mkdir()
    plaid.merge(tmp_path / "all", leg(32), sources)
    together = Packed.concatenate(halves)
    merged = opened(tmp_path / "all", together)
    assert merged.facts()["engine"] == "plaid"
    assert np.abs(merged.read(0, 600).values - together.values).max() < 0.2
    (tmp_path / "few").mkdir()
    few = [np.arange(300) < 100, np.arange(300) < 50]
    fewer = [source._replace(live=live) for source, live in zip(sources, few, strict=True)]
    plaid.merge(tmp_path / "few", leg(32), fewer)
    expected = Packed.concatenate(
        [half.select(np.flatnonzero(live)) for half, live in zip(halves, few, strict=True)]
    )
    assert np.array_equal(np.load(tmp_path / "few" / "vectors.npy"), expected.values)


# ----------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("name", ["codes", "lists", "residuals", "buckets", "centroids"])
def test_damaged_numbers_do_not_crash_a_search(tmp_path, compress_all, name):
    """`verify` reports them; a search may be wrong, but must not read outside its arrays."""
    rng = np.random.default_rng(15)
    passages = collection(rng, 500, 32)
    folder = written(tmp_path / "s", passages)
    plaid.build(folder, leg(32), [])
    array = np.load(folder / f"{name}.npy")
    broken = np.frombuffer(b"\xff" * array.nbytes, array.dtype).reshape(array.shape)
    np.save(folder / f"{name}.npy", broken)
    if name == "centroids":  # no number at all
        with pytest.raises(InputError, match="centroids is too large"):
            opened(folder, passages)
        return
    engine = opened(folder, passages)
    with np.errstate(all="ignore"):
        results = engine.search(
            collection(rng, 4, 32), np.ones(500, bool), 10, Tuning(candidates=20)
        )
    assert all(len(numbers) <= 20 and (numbers < 500).all() for numbers, _ in results)
    engine.read(0, 500)


def test_damaged_codes_do_not_crash_a_merge(tmp_path, compress_all):
    passages = collection(np.random.default_rng(18), 500, 32)
    folder = written(tmp_path / "s", passages)
    plaid.build(folder, leg(32), [])
    codes = np.load(folder / "codes.npy")
    np.save(folder / "codes.npy", np.full_like(codes, np.iinfo(codes.dtype).max))
    (tmp_path / "m").mkdir()
    source = MergeSource(folder, opened(folder, passages), np.ones(500, bool))
    plaid.merge(tmp_path / "m", leg(32), [source])
    bounds = np.load(tmp_path / "m" / "list_bounds.npy")
    assert bounds[-2] == 0  # all are taken for the last centroid
    assert bounds[-1] == 500


@pytest.mark.parametrize("name", ["offsets", "list_bounds"])
def test_damaged_bounds_are_named(tmp_path, compress_all, name):
    passages = collection(np.random.default_rng(16), 500, 32)
    folder = written(tmp_path / "s", passages)
    plaid.build(folder, leg(32), [])
    array = np.load(folder / f"{name}.npy")
    array[3] = 10**12
    np.save(folder / f"{name}.npy", array)
    with pytest.raises(InputError, match=rf"{name}\.npy"):
        opened(folder, passages)


def test_equal_vectors_make_no_trouble(tmp_path, compress_all):
    passages = Packed(np.ones((400, 8), np.float32), np.arange(0, 401, 4, dtype=np.int64))
    plaid.build(written(tmp_path / "s", passages), leg(8), [])
    ((numbers, scores),) = opened(tmp_path / "s", passages).search(
        Packed.from_sequences([np.ones((2, 8), np.float32)]), np.ones(100, bool), 10
    )
    assert len(numbers) >= 10
    assert np.allclose(scores, 16, atol=1e-3)


def test_long_and_short_passages_together(tmp_path, compress_all):
    rng = np.random.default_rng(17)
    lengths = np.array([8192, 1, 3, 8192, 2, 500, 1])
    vectors = clustered(rng, int(lengths.sum()), 48, 500)
    passages = Packed(vectors, np.concatenate([[0], np.cumsum(lengths)]))
    folder = written(tmp_path / "s", passages)
    exact = flat.load(folder, 7, len(vectors), 48)
    queries = Packed.from_sequences([passages[p][:32] for p in range(7)])
    wanted = exact.search(queries, np.ones(7, bool), 7)
    plaid.build(folder, leg(48), [])
    results = opened(folder, passages).search(queries, np.ones(7, bool), 7)
    for mine, theirs in zip(results, wanted, strict=True):
        assert dict(ranked(mine)) == pytest.approx(dict(ranked(theirs)), abs=1.0, rel=0.05)
