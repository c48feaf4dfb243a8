"""The engine's arithmetic in torch, on the processor and on CUDA, against the kernels and numpy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mbert_retrieval import InputError
from mbert_retrieval.indexes import plaid
from mbert_retrieval.indexes.device import on_device
from mbert_retrieval.indexes.engine import Tuning, VectorsWriter
from mbert_retrieval.indexes.manifest import EncoderIdentity, Leg
from mbert_retrieval.indexes.plaid import building
from mbert_retrieval.indexes.plaid.centroids import router
from support.index_model import max_sim
from support.plaid_collections import clustered, collection

QUERIES, DIMENSION = 12, 48


def build(folder, passages, **chosen):
    folder.mkdir()
    writer = VectorsWriter(folder, DIMENSION)
    writer.append(passages)
    writer.finish()
    leg = Leg(EncoderIdentity("toy", "00", "late", DIMENSION), "plaid", chosen)
    plaid.build(folder, leg, [])
    return plaid.load(folder, len(passages), len(passages.values), DIMENSION)


@pytest.fixture
def passages(monkeypatch):
    monkeypatch.setattr(building, "EXACT_PASSAGES", 1)
    return collection(np.random.default_rng(5), 800, DIMENSION)


@pytest.fixture
def queries():
    return collection(np.random.default_rng(6), QUERIES, DIMENSION, longest=20)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    return request.param


def by_row(results):
    rows, scores = results
    return dict(zip(rows.tolist(), scores.tolist(), strict=True))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("candidates", [30, 5000])
def test_returns_what_the_kernels_return(tmp_path, passages, queries, bits, candidates, device):
    engine = build(tmp_path / "late", passages, nbits=bits)
    live = np.random.default_rng(7).random(len(passages)) < 0.8
    tuning = Tuning(nprobe=3, candidates=candidates)
    expected = engine.search(queries, live, 10, tuning)
    with on_device(device):
        results = engine.search(queries, live, 10, tuning)
    same = 0
    for theirs, ours in zip(expected, results, strict=True):
        theirs, ours = by_row(theirs), by_row(ours)
        assert len(ours) == 10
        assert all(live[row] for row in ours)
        both = theirs.keys() & ours.keys()
        assert all(ours[row] == pytest.approx(theirs[row], abs=1e-4) for row in both)
        same += len(both)
    # a passage at the edge of what is scored may differ by the rounding of a level
    assert same >= 0.98 * 10 * QUERIES


def test_scores_are_max_sim_of_the_decoded_vectors(tmp_path, passages, queries, device):
    engine = build(tmp_path / "late", passages, nbits=8)
    with on_device(device):
        results = engine.search(queries, np.ones(len(passages), bool), len(passages) + 5)
    for query, (rows, scores) in zip(queries, results, strict=True):
        assert sorted(rows.tolist()) == list(range(len(passages)))
        for row, score in list(zip(rows.tolist(), scores.tolist(), strict=True))[:20]:
            decoded = engine.read(row, row + 1).values
            # the query is rounded to 8 bits against the residuals
            assert score == pytest.approx(max_sim(query, decoded), abs=0.01 * len(query))


def test_no_more_than_is_allowed_and_none_at_all(tmp_path, passages, queries, device):
    engine = build(tmp_path / "late", passages)
    live = np.zeros(len(passages), bool)
    with on_device(device):
        assert all(len(rows) == 0 for rows, _ in engine.search(queries, live, 10))
        live[[3, 500]] = True
        for rows, _ in engine.search(queries, live, 10):
            assert sorted(rows.tolist()) == [3, 500]


def test_the_nearest_centroid_is_the_nearest(device):
    rng = np.random.default_rng(8)
    centroids, vectors = clustered(rng, 700, 32, words=300), clustered(rng, 2000, 32, words=300)
    with on_device(device):
        results = router(centroids).nearest(vectors)
    distances = np.square(vectors[:, None].astype(np.float64) - centroids).sum(-1)
    chosen = np.take_along_axis(distances, results[:, None], 1)[:, 0]
    assert np.all(chosen <= distances.min(1) + 1e-5)


INTERPRETED = """
import sys
import numpy as np
sys.path[:0] = [{tests!r}, {here!r}]
from pathlib import Path
from support.plaid_collections import collection
from test_device import build
from mbert_retrieval.indexes.plaid import building, cuda_search, torch_search
building.EXACT_PASSAGES = 1
passages = collection(np.random.default_rng(5), 90, 48)
queries = collection(np.random.default_rng(6), 3, 48, longest=9)
live = np.random.default_rng(7).random(90) < 0.8
for bits in (1, 2, 4, 8):
    segment = build(Path({folder!r}) / str(bits), passages, nbits=bits)
    vectors = segment._copy_on("cpu")
    allowed = torch_search.torch.from_numpy(live)
    for k, probes, candidates in ((5, 1, 20), (30, 1, 30), (90, 2, 90)):
        expected = torch_search.search(vectors, queries, allowed, k, probes, candidates)
        found = cuda_search.search(vectors, queries, allowed, k, probes, candidates)
        for (places, scores), (others, values) in zip(found, expected, strict=True):
            assert places.tolist() == others.tolist()
            np.testing.assert_allclose(scores, values, rtol=1e-5, atol=1e-5)
"""


def test_the_kernels_for_cuda_find_what_torch_finds(tmp_path):
    """Triton can interpret its kernels on the CPU, in a process of its own."""
    pytest.importorskip("triton")
    here = Path(__file__).parent
    code = INTERPRETED.format(tests=str(here.parents[1]), here=str(here), folder=str(tmp_path))
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_an_index_built_on_a_device_is_as_good(tmp_path, passages, device):
    made = build(tmp_path / "kernels", passages)
    with on_device(device):
        ours = build(tmp_path / "device", passages)
    assert ours.codec.error <= 1.02 * made.codec.error
    assert len(ours.codec.centroids) == len(made.codec.centroids)


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(InputError, match="no device 'cuda:97'"), on_device("cuda:97"):
        pass
    with pytest.raises(InputError, match="no device 'abacus'"), on_device("abacus"):
        pass


def test_torch_is_loaded_on_a_device_only():
    code = (
        "import sys; from mbert_retrieval.indexes import device, plaid\n"
        "print('torch' in sys.modules)\n"
        "with device.on_device(None): print('torch' in sys.modules)\n"
        "with device.on_device('cpu'): print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]


@pytest.mark.parametrize("k", [1, 100, 799])
def test_as_many_hits_as_wanted_whatever_is_probed(tmp_path, passages, queries, k):
    engine = build(tmp_path / "late", passages)
    live = np.ones(len(passages), bool)
    with on_device("cpu"):
        results = engine.search(queries, live, k, Tuning(nprobe=1, candidates=1))
    assert [len(rows) for rows, _ in results] == [k] * QUERIES
