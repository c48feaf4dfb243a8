"""Centroids and residual codes, against numpy, FAISS and the theory of quantisers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval import InputError
from mbert_retrieval.indexes import EncoderIdentity, Leg
from mbert_retrieval.indexes.plaid import building
from mbert_retrieval.indexes.plaid.centroids import cluster, router
from mbert_retrieval.indexes.plaid.codec import BITS, fit_codec, load_codec
from support.plaid_collections import clustered

# ------------------------------------------------------------------------------------------- codec


@given(
    bits=st.sampled_from(BITS),
    dimension=st.integers(1, 200),
    count=st.integers(1, 40),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None)
def test_packed_residuals_are_the_nearest_buckets(bits, dimension, count, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, dimension)).astype(np.float32)
    codec = fit_codec(vectors, 3, bits)
    codes, residuals = codec.encode(vectors)
    assert residuals.shape == (count, -(-dimension * bits // 8))
    decoded = codec.decode(codes, residuals)
    # the definition: of all values that a bucket can give, the nearest to the component
    values = codec.buckets.astype(np.float64) * codec.step
    possible = codec.centroids[codes][:, :, None] + codec.scale[None, :, None] * values
    nearest = np.abs(possible - vectors[:, :, None]).min(axis=2)
    assert np.abs(np.abs(decoded - vectors) - nearest).max() < 1e-5


@pytest.mark.parametrize(("bits", "distortion"), [(1, 0.3634), (2, 0.1175), (4, 0.00954)])
def test_error_is_that_of_the_best_quantiser_of_a_gaussian(bits, distortion):
    """Max 1960, "Quantizing for minimum distortion", table 1."""
    vectors = np.random.default_rng(0).standard_normal((4000, 64)).astype(np.float32)
    assert fit_codec(vectors, 1, bits).error == pytest.approx(distortion, rel=0.06)


def test_codec_is_the_same_after_saving(tmp_path):
    vectors = clustered(np.random.default_rng(1), 2000, 48)
    codec = fit_codec(vectors, 64, 4)
    codec.save(tmp_path)
    again = load_codec(tmp_path, 48)
    assert again.same_as(codec)
    assert again.error == codec.error
    for left, right in zip(codec.encode(vectors), again.encode(vectors), strict=True):
        assert np.array_equal(left, right)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"bits": 3}', b'{"bits": 4, "centroids": -1}'])
def test_damaged_codec_is_named(tmp_path, content):
    fit_codec(clustered(np.random.default_rng(1), 100, 16), 4, 4).save(tmp_path)
    (tmp_path / "codec.json").write_bytes(content)
    with pytest.raises(InputError, match=r"codec\.json"):
        load_codec(tmp_path, 16)


# --------------------------------------------------------------------------------------- centroids


def test_router_finds_the_nearest_centroid_or_one_nearly_as_near():
    rng = np.random.default_rng(2)
    centroids, vectors = clustered(rng, 1500, 32, 200), clustered(rng, 4000, 32, 200)
    distances = 2 - 2 * vectors @ centroids.T  # both are unit vectors
    found = router(centroids).nearest(vectors)
    assert np.mean(found == distances.argmin(axis=1)) > 0.9
    taken = distances[np.arange(len(found)), found]
    assert taken.mean() < 1.02 * distances.min(axis=1).mean()


@given(count=st.integers(1, 60), centroids=st.integers(1, 40), dimension=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_router_is_exact_for_few_centroids(count, centroids, dimension):
    rng = np.random.default_rng(count * centroids)
    points = rng.standard_normal((centroids, dimension)).astype(np.float32)
    vectors = rng.standard_normal((count, dimension)).astype(np.float32)
    distances = np.square(vectors[:, None].astype(np.float64) - points[None]).sum(axis=2)
    taken = distances[np.arange(count), router(points).nearest(vectors)]
    assert np.allclose(taken, distances.min(axis=1), atol=1e-4)


def test_clustering_is_as_good_as_that_of_faiss():
    import faiss

    sample = clustered(np.random.default_rng(3), 20_000, 32, 300)
    theirs = faiss.Kmeans(32, 512, niter=6, seed=1, verbose=False, max_points_per_centroid=10**6)
    theirs.train(sample)
    ours = cluster(sample, 512)

    def error(centroids):
        return faiss.knn(sample, centroids, 1)[0].mean()

    assert error(ours) < 1.05 * error(theirs.centroids)


def test_clustering_repeats_itself_with_any_number_of_threads(monkeypatch):
    sample = clustered(np.random.default_rng(4), 5000, 24, 100)
    first = cluster(sample, 300)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert np.array_equal(first, cluster(sample, 300))
    assert not np.array_equal(first, cluster(sample, 300, seed=1))


@pytest.mark.parametrize(("wanted", "fits"), [(8, True), (32, True), (33, False)])
def test_a_codec_is_reused_up_to_twice_its_centroids(wanted, fits):
    codec = fit_codec(clustered(np.random.default_rng(5), 300, 16), 16, 4)
    leg = Leg(EncoderIdentity("toy", "00", "late", 16), "plaid")
    assert building._fits(codec, wanted, leg, []) is fits
