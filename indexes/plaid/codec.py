"""Compress a vector to the number of its nearest centroid and a few bits per dimension.

Residual compression of ColBERTv2 (Santhanam et al. 2022). A residual is the difference between a
vector and its centroid. It is divided by a scale per dimension, and all dimensions share 2^bits
buckets: each bucket's value is the mean of what falls into it, and the cutoffs lie halfway between
the values (Lloyd 1982). The values are integer multiples of one step, so that a query can be scored
with 8-bit products (`native/tiers/scoring.h`) exactly as decoded here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ...errors import BUILD_AGAIN, InputError
from ...native import kernels
from ..arrays import load_array
from ..device import thread_count
from .centroids import Router, cluster, router

BITS = (1, 2, 4, 8)
FILES = ("centroids.npy", "scale.npy", "buckets.npy", "cutoffs.npy", "codec.json")
HELD_OUT = 2**15  # vectors of a sample, but at most a tenth, that scale and buckets are fitted to
LEAST_HELD_OUT = 256  # if a tenth is fewer, the whole sample is used for everything
MOST_COMPONENT = 65_504.0 * 16  # of centroids, scale and step in a file
LLOYD_ITERATIONS = 300


@dataclass(frozen=True)
class Codec:
    """The parameters of the compression.

    centroids: (K, D) float32, of float16 precision; scale: (D,) float32; buckets: (2^bits,) int8,
    which times `step` are the values of scaled residuals; cutoffs: (2^bits - 1,) float32,
    increasing; error: mean squared error / mean squared component, on vectors of its collection.
    """

    centroids: np.ndarray
    scale: np.ndarray
    buckets: np.ndarray
    cutoffs: np.ndarray
    bits: int
    step: float
    error: float

    @property
    def code_type(self) -> type:
        """The dtype of codes."""
        return np.uint16 if len(self.centroids) <= 2**16 else np.uint32

    @property
    def bytes_per_residual(self) -> int:
        """ceil(D * bits / 8)."""
        return -(-self.centroids.shape[1] * self.bits // 8)

    @cached_property
    def router(self) -> Router:
        """The centroids, grouped for `Router.nearest`."""
        return router(self.centroids)

    def same_as(self, other: Codec) -> bool:
        """Return whether codes and residuals of one codec mean the same in the other."""
        return (
            (self.bits, self.step) == (other.bits, other.step)
            and np.array_equal(self.centroids, other.centroids)
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.buckets, other.buckets)
        )

    def encode(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return codes (N,) and residuals (N, bytes) uint8 of (N, D) float32 vectors."""
        nearest = self.router.nearest(vectors)
        return nearest.astype(self.code_type), self._pack(vectors, nearest)

    def decode(self, codes: np.ndarray, residuals: np.ndarray) -> np.ndarray:
        """Return (N, D) float32, the vectors as searches see them."""
        weights = self.buckets.astype(np.float32) * np.float32(self.step)
        return kernels.unpack(codes, residuals, self.centroids, self.scale, weights, self.bits)

    def error_on(self, vectors: np.ndarray) -> float:
        """Return mean squared error / mean squared component of (N, D) float32 vectors."""
        decoded = self.decode(*self.encode(vectors))
        return float(np.square(vectors - decoded).mean() / max(np.square(vectors).mean(), 1e-30))

    def _pack(self, vectors: np.ndarray, nearest: np.ndarray) -> np.ndarray:
        inverse, threads = (1 / self.scale).astype(np.float32), thread_count()
        return kernels.pack(
            vectors, nearest, self.centroids, inverse, self.cutoffs, self.bits, threads
        )

    def save(self, folder: Path) -> None:
        """Write FILES."""
        for name in ("scale", "buckets", "cutoffs"):
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)
        np.save(folder / "centroids.npy", self.centroids.astype(np.float16), allow_pickle=False)
        facts = {
            "bits": self.bits,
            "step": self.step,
            "error": self.error,
            "centroids": len(self.centroids),
        }
        (folder / "codec.json").write_text(json.dumps(facts))


def load_codec(folder: Path, dimension: int) -> Codec:
    """Read FILES. Raises InputError naming a damaged file."""
    file = folder / "codec.json"
    try:
        facts = json.loads(file.read_text())
        bits, count = facts["bits"], facts["centroids"]
        step, error = float(facts["step"]), float(facts["error"])
        if bits not in BITS or not isinstance(count, int) or not 0 < count < 2**31:
            raise ValueError
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{file} is damaged: {BUILD_AGAIN}") from None
    codec = Codec(
        load_array(folder / "centroids.npy", np.float16, (count, dimension)).astype(np.float32),
        load_array(folder / "scale.npy", np.float32, (dimension,)),
        load_array(folder / "buckets.npy", np.int8, (2**bits,)),
        load_array(folder / "cutoffs.npy", np.float32, (2**bits - 1,)),
        bits,
        step,
        error,
    )
    for name in ("centroids", "scale", "step", "error"):
        # far above what `fit_codec` makes, and products of them are finite in float32
        if not np.all(np.abs(getattr(codec, name)) <= MOST_COMPONENT):  # nor is NaN
            raise InputError(f"{folder} is damaged: {name} is too large: {BUILD_AGAIN}")
    return codec


def fit_codec(sample: np.ndarray, centroids: int, bits: int, seed: int = 0) -> Codec:
    """Fit a codec to a sample.

    Scale, buckets and error are measured on vectors that the centroids were not fitted to, as are
    most vectors of a collection.

    Args:
        sample: (N, D) float32. Its rows may be reordered, since it is too large to copy.
        centroids: How many; at most N are used.
        bits: Per dimension of a residual, one of BITS.
        seed: Of the random choices.

    Raises:
        InputError: If components are too large for float16.
    """
    count = min(HELD_OUT, len(sample) // 10)
    fitted_to, held_out = sample, sample
    if count >= LEAST_HELD_OUT:
        chosen = np.zeros(len(sample), dtype=bool)
        chosen[np.random.default_rng(seed).choice(len(sample), count, replace=False)] = True
        held_out, fitted_to = sample[chosen], sample[:-count]
        # the last rows that are not held out replace those that are
        fitted_to[chosen[:-count]] = sample[-count:][~chosen[-count:]]
    exact = cluster(fitted_to, min(centroids, len(fitted_to)), seed)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float16).astype(np.float32)
    if not np.isfinite(rounded).all():
        raise InputError("the vectors are too large: components must be below 65,504")
    residuals = held_out - rounded[router(rounded).nearest(held_out)]
    deviations = np.sqrt(np.square(residuals).mean(axis=0))
    scale = np.maximum(deviations, max(1e-12, 1e-3 * float(deviations.max()))).astype(np.float32)
    buckets, step, cutoffs = _fit_buckets((residuals / scale).ravel(), bits)
    codec = Codec(rounded, scale, buckets, cutoffs, bits, step, 0.0)
    return replace(codec, error=codec.error_on(held_out))


def _fit_buckets(values: np.ndarray, bits: int) -> tuple[np.ndarray, float, np.ndarray]:
    """Return 2^bits int8 values, their step, and the cutoffs between them, with the least squared
    error (Lloyd 1982)."""
    values = np.sort(values)
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    count = 2**bits
    weights = np.quantile(values, (np.arange(count) + 0.5) / count).astype(np.float64)
    for _ in range(LLOYD_ITERATIONS):
        cuts = np.searchsorted(values, (weights[1:] + weights[:-1]) / 2)
        bounds = np.concatenate([[0], cuts, [len(values)]])
        sizes = np.diff(bounds)
        weights = np.where(sizes > 0, np.diff(sums[bounds]) / np.maximum(sizes, 1), weights)
    step = max(float(np.abs(weights).max()) / 127, 1e-12)
    buckets = np.rint(weights / step).astype(np.int8)
    middles = (buckets[1:].astype(np.float32) + buckets[:-1]) / 2
    return buckets, step, middles * np.float32(step)
