"""What runs where there are no compiled kernels, against the compiled ones."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval.native import kernels, numpy_kernels
from mbert_retrieval.packed import offsets_from_lengths


@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([1, 2, 4, 8]),
    width=st.integers(1, 70),
    candidates=st.sampled_from([3, 1000]),
)
@settings(max_examples=80, deadline=None)
def test_compress_and_search_as_the_compiled_ones_do(seed, bits, width, candidates):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, rng.integers(4, 40))
    offsets = offsets_from_lengths(lengths)
    vectors, centroids, query = (
        rng.standard_normal((rows, width), dtype=np.float32) for rows in (lengths.sum(), 12, 5)
    )
    scale = rng.uniform(0.5, 2, width).astype(np.float32)
    cutoffs = np.sort(rng.standard_normal(2**bits - 1)).astype(np.float32)
    buckets = np.zeros(max(16, 2**bits), np.int8)
    buckets[: 2**bits] = np.sort(rng.integers(-127, 128, 2**bits))
    weights = buckets[: 2**bits].astype(np.float32)
    norms = np.einsum("nd,nd->n", centroids, centroids) / 2
    grouped = (centroids[:1], norms[:1], centroids, norms, np.array([0, 12]), 1, 1)
    rankings = []
    nearest = kernels.nearest(vectors, *grouped)
    for module in (kernels, numpy_kernels):
        # of centroids that are equally near, each takes the one that its rounding finds nearer
        near, far = (
            np.linalg.norm(vectors - centroids[codes], axis=1)
            for codes in (nearest, module.nearest(vectors, *grouped))
        )
        np.testing.assert_allclose(near, far, rtol=1e-4, atol=1e-4)
        codes = nearest
        packed = module.pack(vectors, codes, centroids, 1 / scale, cutoffs, bits, 1)
        stored = codes.astype(np.uint16)
        bounds, lists = module.invert(stored, offsets, 12)
        sums, counts = np.zeros((12, width), np.float32), np.zeros(12, np.int64)
        module.accumulate(vectors, codes, sums, counts)
        arrays = (codes, packed, bounds, lists, counts, sums)
        decoded = module.unpack(stored, packed, centroids, scale, weights, bits)
        segment = module.segment(
            offsets=offsets, codes=stored, residuals=packed, list_bounds=bounds, lists=lists,
            centroids=centroids, scale=scale, buckets=buckets, bucket_step=1.0, bits=bits,
        )  # fmt: skip
        chosen = module.SearchSettings(3, 12, candidates, 1)
        allowed = np.ones(len(lengths), np.uint8)
        ((rows, scores),), _ = module.search(query, np.array([0, 5]), segment, allowed, chosen)
        order = np.lexsort([rows, -scores])
        rankings.append((rows[order], scores[order]))
        if module is kernels:
            expected, expected_decoded = arrays, decoded
        else:
            for ours, wanted in zip(arrays[:-1], expected[:-1], strict=True):
                assert np.array_equal(ours, wanted)
            np.testing.assert_allclose(sums, expected[-1], rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(decoded, expected_decoded, rtol=1e-5, atol=1e-4)
    # the compiled ones round a query to 8 bits and, with few candidates, choose by rounded scores
    if candidates > len(lengths):
        largest = np.abs(rankings[1][1]).max() + np.abs(weights).max() * width**0.5
        np.testing.assert_allclose(rankings[0][1], rankings[1][1], atol=0.05 * largest)


WITHOUT = """
import sys
sys.modules["mbert_retrieval.native.kernels"] = None
"""


def test_an_index_is_built_and_searched_without_compiled_kernels(tmp_path):
    code = (
        WITHOUT
        + f"""
import numpy as np
from mbert_retrieval import Index, Passage, load_encoder
from mbert_retrieval.indexes.plaid import building
building.EXACT_PASSAGES = 1
texts = ["def parse_date(text): ...", "def open_socket(host): ...", "def retry(call): ..."]
passages = [Passage(id=str(i), text=text) for i, text in enumerate(texts)]
index = Index.build({str(tmp_path / "i")!r}, passages, load_encoder("nano"))
for hit in index.search("where are dates parsed", k=1, mode="late"):
    print(hit.passage.text)
"""
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "def parse_date(text): ...\n", done.stderr
    assert done.stderr.count("without its compiled kernels") == 1


def test_int8_is_refused_without_them():
    code = WITHOUT + "from mbert_retrieval import load_encoder; load_encoder('nano', dtype='int8')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "needs the device cpu and the compiled kernels" in done.stderr


def test_this_platform_has_compiled_kernels():
    assert kernels.TIER != "numpy"
    assert pytest.importorskip("mbert_retrieval.native.kernels") is kernels
