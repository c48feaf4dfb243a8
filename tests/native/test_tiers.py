"""Every instruction-set tier against the portable one, and against arguments that make no sense."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval.native import kernels
from mbert_retrieval.packed import offsets_from_lengths
from support.tiers import TIERS, kernels_of

FAST = [tier for tier in TIERS if tier != "portable"]
every_tier = pytest.mark.parametrize("tier", FAST)
portable = kernels_of("portable")
seeds = st.integers(0, 2**32 - 1)


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def bfloat16(x: np.ndarray) -> np.ndarray:
    """The bits, cut off."""
    return (x.view(np.uint32) >> 16).astype(np.uint16)


def from_bfloat16(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.uint32) << 16).view(np.float32)


def test_the_environment_names_the_tier():
    code = "from mbert_retrieval.native import kernels; print(kernels.TIER)"
    for tier in TIERS:
        done = subprocess.run(
            [sys.executable, "-c", code], env={"MBERT_TIER": tier}, capture_output=True, text=True
        )
        assert done.stdout.strip() == tier
    done = subprocess.run(
        [sys.executable, "-c", code], env={"MBERT_TIER": "mmx"}, capture_output=True, text=True
    )
    assert f"InputError: MBERT_TIER is 'mmx': this processor allows {kernels.TIERS}" in done.stderr
    assert done.returncode == 1


@st.composite
def batches(draw):
    rng = np.random.default_rng(draw(seeds))
    longest = draw(st.sampled_from([5, 40, 200, 600]))
    lengths = rng.integers(0, longest + 1, draw(st.integers(1, 4)))
    heads, dimension = draw(st.integers(1, 3)), 16 * draw(st.integers(1, 16))
    tokens = int(lengths.sum())
    qkv = floats(rng, tokens, 3, heads, dimension)
    angles = rng.uniform(0, 7, (tokens, dimension // 2)).astype(np.float32)
    rotation = (np.cos(angles), np.sin(angles))
    window = draw(st.sampled_from([-1, 0, 1, 7, 64, 10_000]))
    slopes = floats(rng, tokens, heads, dimension)
    return qkv, *rotation, offsets_from_lengths(lengths), window, slopes


@every_tier
@given(batch=batches(), threads=st.sampled_from([1, 3]))
@settings(max_examples=40, deadline=None)
def test_attention_and_its_gradient(tier, batch, threads):
    module, (qkv, cosine, sine, offsets, window, slopes) = kernels_of(tier), batch
    others = (cosine, sine, offsets, window, threads)
    np.testing.assert_allclose(
        module.attend(qkv, *others), portable.attend(qkv, *others), atol=1e-5, rtol=1e-4
    )
    ours = module.attend_backward(slopes, qkv, *others)
    expected = portable.attend_backward(slopes, qkv, *others)
    np.testing.assert_allclose(ours, expected, atol=1e-4 * max(1, np.abs(expected).max(initial=0)))
    halves = bfloat16(qkv)
    np.testing.assert_allclose(
        from_bfloat16(module.attend(halves, *others)),
        from_bfloat16(portable.attend(halves, *others)),
        atol=1e-2,
        rtol=1e-2,
    )


@pytest.mark.slow
@every_tier
@pytest.mark.parametrize("window", [-1, 64])
def test_attention_over_8192_tokens(tier, window):
    rng = np.random.default_rng(0)
    qkv, angles = floats(rng, 8192, 3, 1, 64), np.zeros((8192, 32), np.float32)
    others = (np.cos(angles), np.sin(angles), np.array([0, 8192]), window, 2)
    expected = portable.attend(qkv, *others)
    np.testing.assert_allclose(kernels_of(tier).attend(qkv, *others), expected, atol=1e-5)


@every_tier
@given(
    seed=seeds,
    rows=st.integers(0, 210),
    inputs=st.integers(1, 12),
    outputs=st.integers(1, 12),
    gated=st.booleans(),
    threads=st.sampled_from([1, 3]),
)
@settings(max_examples=60, deadline=None)
def test_products_of_integers(tier, seed, rows, inputs, outputs, gated, threads):
    """The integers are the same,
    but for one that lay between two by the last bits of its factor."""
    rng, module = np.random.default_rng(seed), kernels_of(tier)
    weights = floats(rng, 16 * outputs, 16 * inputs)
    x = floats(rng, rows, 16 * inputs * (2 if gated else 1))
    ours = module.product(x, *module.pack_weights(weights), gated, threads)
    expected = portable.product(x, *portable.pack_weights(weights), gated, threads)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=0.1)
    halves = bfloat16(x)
    ours = module.product(halves, *module.pack_weights(weights), gated, threads)
    expected = portable.product(halves, *portable.pack_weights(weights), gated, threads)
    np.testing.assert_allclose(from_bfloat16(ours), from_bfloat16(expected), rtol=1e-2, atol=0.1)


@every_tier
@given(seed=seeds, count=st.integers(1, 300), groups=st.integers(1, 40), width=st.integers(1, 150))
@settings(max_examples=60, deadline=None)
def test_nearest_centroids(tier, seed, count, groups, width):
    rng, module = np.random.default_rng(seed), kernels_of(tier)
    members, leaders, vectors = (floats(rng, rows, width) for rows in (groups * 7, groups, count))
    bounds = offsets_from_lengths(rng.multinomial(groups * 7, np.full(groups, 1 / groups)))
    norms = [np.einsum("nd,nd->n", x, x) / 2 for x in (leaders, members)]
    arguments = (leaders, norms[0], members, norms[1], bounds, min(8, groups), 2)
    ours, expected = (m.nearest(vectors, *arguments) for m in (module, portable))

    def distance(rows: np.ndarray) -> np.ndarray:
        return np.linalg.norm(vectors - members[rows], axis=1)

    # two that are equally near may change places, also among the leaders
    assert (ours == expected).mean() > 0.99 or count < 100
    np.testing.assert_allclose(distance(ours), distance(expected), rtol=0.2)


@st.composite
def segments(draw):
    rng = np.random.default_rng(draw(seeds))
    bits, width = draw(st.sampled_from([1, 2, 4, 8])), draw(st.integers(1, 140))
    centroids = floats(rng, draw(st.integers(1, 40)), width)
    lengths = rng.integers(1, draw(st.sampled_from([2, 9, 60])), draw(st.integers(1, 60)))
    offsets = offsets_from_lengths(lengths)
    total = int(offsets[-1])
    codes = rng.integers(0, len(centroids), total).astype(draw(st.sampled_from(["u2", "u4"])))
    residuals = rng.integers(0, 256, (total, -(-width * bits // 8)), dtype=np.uint8)
    bounds, lists = portable.invert(codes, offsets, len(centroids))
    buckets = np.zeros(max(16, 2**bits), np.int8)
    buckets[: 2**bits] = np.sort(rng.integers(-127, 128, 2**bits))
    return {
        "offsets": offsets,
        "codes": codes,
        "residuals": residuals,
        "list_bounds": bounds,
        "lists": lists,
        "centroids": centroids,
        "scale": np.abs(floats(rng, width)) / 10,
        "buckets": buckets,
        "bucket_step": 0.01,
        "bits": bits,
    }


def search(module, segment, queries, offsets, allowed, candidates=10**6, threads=2, k=10):
    chosen = module.SearchSettings(k, 4, candidates, threads)
    made = module.segment(**segment)
    results, _ = module.search(queries, offsets, made, allowed, chosen)
    return [dict(zip(rows.tolist(), scores.tolist(), strict=True)) for rows, scores in results]


@every_tier
@given(segment=segments(), seed=seeds, threads=st.sampled_from([1, 3]))
@settings(max_examples=60, deadline=None)
def test_scores_of_residuals(tier, segment, seed, threads):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 50, 3)
    queries = floats(rng, int(lengths.sum()), segment["centroids"].shape[1])
    passages = len(segment["offsets"]) - 1
    others = (queries, offsets_from_lengths(lengths), np.ones(passages, np.uint8))
    ours, expected = (
        search(m, segment, *others, threads=threads, k=passages)
        for m in (kernels_of(tier), portable)
    )
    for scores, wanted in zip(ours, expected, strict=True):
        assert scores.keys() == wanted.keys()
        for row, score in wanted.items():
            assert scores[row] == pytest.approx(score, rel=1e-4, abs=1e-2)


@every_tier
def test_residuals_of_every_width(tier):
    """Each length of a plane up to beyond two registers has its own last bytes."""
    rng, module = np.random.default_rng(0), kernels_of(tier)
    for bits in (1, 2, 4, 8):
        for width in range(1, 300, 7 if bits == 8 else 1):
            centroids, vectors = floats(rng, 3, width), floats(rng, 5, width)
            codes = rng.integers(0, 3, 5, dtype=np.int32)
            cutoffs = np.linspace(-1, 1, 2**bits - 1, dtype=np.float32)
            ones = np.ones(width, np.float32)
            packed = [
                m.pack(vectors, codes, centroids, ones, cutoffs, bits, 1)
                for m in (module, portable)
            ]
            assert np.array_equal(*packed)
            segment = {
                "offsets": np.array([0, 2, 5]),
                "codes": codes.astype(np.uint16),
                "residuals": packed[0],
                "list_bounds": np.array([0, 0, 0, 0]),
                "lists": np.zeros(0, np.uint32),
                "centroids": centroids,
                "scale": ones,
                "buckets": np.arange(max(16, 2**bits)).astype(np.int8),
                "bucket_step": 0.1,
                "bits": bits,
            }
            query = floats(rng, 3, width)
            rest = (query, np.array([0, 3]), np.ones(2, np.uint8))
            ours, expected = (search(m, segment, *rest)[0] for m in (module, portable))
            assert ours == pytest.approx(expected, rel=1e-4, abs=1e-3)


# ------------------------------------------------------------- arguments that do not fit together


def good_calls(rng: np.random.Generator) -> list[tuple[str, dict]]:
    """A valid call of each kernel, with arguments by name."""
    vectors, centroids = floats(rng, 9, 32), floats(rng, 4, 32)
    codes = rng.integers(0, 4, 9, dtype=np.int32)
    offsets = np.array([0, 4, 9])
    qkv, half = floats(rng, 9, 3, 2, 32), floats(rng, 9, 16)
    attention = {
        "qkv": qkv,
        "cosine": half,
        "sine": half,
        "offsets": offsets,
        "window": 3,
        "threads": 2,
    }
    packed, scales, corrections = kernels.pack_weights(centroids[:, :16].repeat(4, 0))
    product = {"x": floats(rng, 5, 16), "packed": packed, "scales": scales, "offsets": corrections}
    stored = codes.astype(np.uint16)
    residuals = rng.integers(0, 256, (9, 16), dtype=np.uint8)
    bounds, lists = kernels.invert(stored, offsets, 4)
    norms = np.zeros(4, np.float32)
    return [
        ("attend", attention),
        ("attend_backward", {"gradients": floats(rng, 9, 2, 32), **attention}),
        ("pack_weights", {"weights": floats(rng, 16, 32)}),
        ("product", {**product, "gated": False, "threads": 2}),
        (
            "nearest",
            {
                "vectors": vectors,
                "leaders": centroids,
                "leader_norms": norms,
                "members": centroids,
                "member_norms": norms,
                "bounds": np.arange(5),
                "probes": 2,
                "threads": 2,
            },
        ),
        (
            "accumulate",
            {
                "vectors": vectors,
                "codes": codes,
                "sums": floats(rng, 4, 32),
                "counts": np.zeros(4, np.int64),
            },
        ),
        (
            "pack",
            {
                "vectors": vectors,
                "codes": codes,
                "centroids": centroids,
                "inverse_scale": np.ones(32, np.float32),
                "cutoffs": np.arange(15, dtype=np.float32),
                "bits": 4,
                "threads": 2,
            },
        ),
        (
            "unpack",
            {
                "codes": stored,
                "residuals": residuals,
                "centroids": centroids,
                "scale": np.ones(32, np.float32),
                "weights": np.arange(16, dtype=np.float32),
                "bits": 4,
            },
        ),
        ("invert", {"codes": stored, "offsets": offsets, "centroids": 4}),
        (
            "search",
            {
                "queries": floats(rng, 3, 32),
                "query_offsets": np.array([0, 1, 3]),
                "allowed": np.ones(2, np.uint8),
                "settings": (2, 2, 1, 2),
                "offsets": offsets,
                "codes": stored,
                "residuals": residuals,
                "list_bounds": bounds,
                "lists": lists,
                "centroids": centroids,
                "scale": np.ones(32, np.float32),
                "buckets": np.zeros(16, np.int8),
                "bucket_step": 0.1,
                "bits": 4,
            },
        ),
    ]


def call(name: str, arguments: dict) -> None:
    if name != "search":
        getattr(kernels, name)(**arguments)
        return
    arguments = dict(arguments)
    first = {key: arguments.pop(key) for key in ("queries", "query_offsets", "allowed")}
    chosen = kernels.SearchSettings(*arguments.pop("settings"))
    kernels.search(segment=kernels.segment(**arguments), settings=chosen, **first)


def damaged(rng: np.random.Generator, value: object) -> object:
    """Another value in its stead: another number, shape, order, type, or numbers of any size."""
    if isinstance(value, np.ndarray):
        kind = rng.integers(6)
        if kind == 0:
            return value[: rng.integers(len(value) + 1)]
        if kind == 1:
            return np.concatenate([value, value])
        if kind == 2:
            return value[None]
        if kind == 3:
            return value.ravel()
        copy = value.copy()
        if copy.size and kind == 4:
            copy.reshape(-1)[rng.integers(copy.size)] = rng.choice([0, 1, 5, 127])
        elif copy.size:
            raw = copy.reshape(-1).view(np.uint8)
            raw[rng.integers(len(raw))] = rng.integers(256)
        return copy
    if isinstance(value, tuple):
        return tuple(int(rng.choice([part, 0, -1, 1, 2**31 - 1])) for part in value)
    return rng.choice([-(2**31), -1, 0, 1, 3, 2**31 - 1]) if isinstance(value, int) else value


def trials(seed: int, count: int) -> int:
    """Damage one argument or two of each call; returns how many calls were refused."""
    rng, refused = np.random.default_rng(seed), 0
    for _ in range(count):
        calls = good_calls(rng)
        name, arguments = calls[rng.integers(len(calls))]
        for key in set(rng.choice(list(arguments), 2)):
            value = damaged(rng, arguments[key])
            arguments[key] = int(value) if isinstance(value, np.integer) else value
        try:
            call(name, arguments)
        except (ValueError, TypeError, MemoryError, IndexError):
            refused += 1
    return refused


def test_good_calls_are_taken():
    for name, arguments in good_calls(np.random.default_rng(0)):
        call(name, arguments)


def test_damaged_arguments_raise_or_return():
    """In this process: a crash would end the test run."""
    assert 100 < trials(0, 500) < 500


@pytest.mark.slow
def test_ten_thousand_damaged_arguments():
    assert 2000 < trials(1, 10_000) < 10_000


def run(code: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, **options
    )


def test_works_after_fork():
    code = """
import os, sys
import numpy as np
from mbert_retrieval.native import kernels
x = np.ones((600, 64), np.float32)
weights = kernels.pack_weights(np.ones((64, 64), np.float32))
expected = kernels.product(x, *weights, False, 4)  # starts the threads
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(kernels.product(x, *weights, False, 4), expected) else 1)
sys.exit(os.waitpid(child, 0)[1] and 3)
"""
    assert run(code).returncode == 0


def test_short_memory_is_an_exception():
    code = """
import resource, sys
import numpy as np
from mbert_retrieval.native import kernels
qkv, half = np.ones((200_000, 3, 1, 16), np.float32), np.ones((200_000, 8), np.float32)
size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 30_000_000, size + 30_000_000))
try:
    kernels.attend(qkv, half, half, np.array([0, 200_000]), 1, 4)
except MemoryError:
    sys.exit(5)
"""
    assert run(code).returncode == 5


def test_many_threads_of_python_share_the_pool():
    from concurrent.futures import ThreadPoolExecutor

    x = floats(np.random.default_rng(0), 300, 64)
    weights = kernels.pack_weights(floats(np.random.default_rng(1), 64, 64))
    expected = kernels.product(x, *weights, False, 1)
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda _: kernels.product(x, *weights, False, 3), range(200))
        assert all(np.array_equal(result, expected) for result in results)
