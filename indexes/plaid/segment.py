"""A compressed segment, open for searching.

offsets.npy      (P + 1,) int64          where the vectors of each passage begin
codes.npy        (N,) uint16 or uint32   the nearest centroid of each vector
residuals.npy    (N, ceil(D bits / 8)) uint8
lists.npy        (L,) uint32             per centroid, the passages with a vector there, increasing
list_bounds.npy  (K + 1,) int64          where each list begins
centroids.npy, scale.npy, buckets.npy, cutoffs.npy, codec.json
                 the codec, possibly hard links to that of another segment
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InputError
from ...native import kernels
from ...packed import Packed
from .. import flat
from ..arrays import load_array
from ..device import current_device, thread_count
from ..engine import DEFAULT_TUNING, Scored, SearchableVectors, Tuning
from .codec import Codec, load_codec

if TYPE_CHECKING:
    from .torch_search import DeviceVectors

PROBES = 8  # default number of centroids per query vector whose lists are followed


def load(folder: Path, passages: int, vectors: int, dimension: int) -> SearchableVectors:
    """See `engine.Engine.load`. A small segment is not compressed."""
    if not (folder / "codec.json").exists():
        return flat.load(folder, passages, vectors, dimension)
    codec = load_codec(folder, dimension)
    offsets = load_array(folder / "offsets.npy", np.int64, (passages + 1,))
    if offsets[0] != 0 or offsets[-1] != vectors or np.any(np.diff(offsets) < 1):
        raise InputError(f"{folder / 'offsets.npy'} is damaged: its numbers do not increase")
    bounds = load_array(folder / "list_bounds.npy", np.int64, (len(codec.centroids) + 1,))
    if bounds[0] != 0 or bounds[-1] > vectors or np.any(np.diff(bounds) < 0):
        raise InputError(f"{folder / 'list_bounds.npy'} is damaged: its numbers decrease")
    width = codec.bytes_per_residual
    return PlaidVectors(
        codec,
        offsets,
        load_array(folder / "codes.npy", codec.code_type, (vectors,)),
        load_array(folder / "residuals.npy", np.uint8, (vectors, width)),
        bounds,
        load_array(folder / "lists.npy", np.uint32, (int(bounds[-1]),)),
    )


def candidate_count(passages: int, k: int) -> int:
    """Return how many of the passages that rank best by centroids are scored with residuals.

    1,024 for 10,000 passages, growing with the square root, and enough for k; measured by
    `benchmarks`' plaid script.
    """
    return max(4 * k, 1024, math.ceil(1024 * math.sqrt(passages / 10_000)))


@dataclass(frozen=True, eq=False)
class PlaidVectors:
    """The arrays of the module's files, memory-mapped."""

    codec: Codec
    offsets: np.ndarray
    codes: np.ndarray
    residuals: np.ndarray
    list_bounds: np.ndarray
    lists: np.ndarray
    _on_device: dict[str, DeviceVectors] = field(default_factory=dict, repr=False)

    def search(
        self, queries: Packed, live: np.ndarray, k: int, tuning: Tuning = DEFAULT_TUNING
    ) -> list[Scored]:
        """See `engine.SearchableVectors.search`. Scores are those of the compressed vectors. If no
        more than `candidates` passages are live, all of them are scored."""
        if device := current_device():
            import torch

            probes, candidates = self._probes_and_candidates(k, tuning)
            allowed = torch.from_numpy(np.ascontiguousarray(live)).to(device)
            search = _device_search(allowed.is_cuda)
            return search(self._copy_on(device), queries, allowed, k, probes, candidates)
        return self.search_measured(queries, live, k, tuning)[0]

    def search_measured(
        self, queries: Packed, live: np.ndarray, k: int, tuning: Tuning = DEFAULT_TUNING
    ) -> tuple[list[Scored], dict[str, Any]]:
        """Search, and also return what was done, summed over the queries: "seconds" of each stage
        (in the query's first thread), and numbers of centroids, passages and vectors read."""
        probes, candidates = self._probes_and_candidates(k, tuning)
        return kernels.search(
            np.ascontiguousarray(queries.values, dtype=np.float32),
            queries.offsets,
            self._for_kernels,
            np.ascontiguousarray(live).view(np.uint8),
            kernels.SearchSettings(k, probes, candidates, thread_count()),
        )

    @cached_property
    def _for_kernels(self) -> kernels.Segment:
        """The arrays as the compiled search takes them."""
        codec = self.codec
        buckets = np.zeros(max(16, len(codec.buckets)), dtype=np.int8)
        buckets[: len(codec.buckets)] = codec.buckets
        return kernels.segment(
            offsets=self.offsets,
            codes=self.codes,
            residuals=self.residuals,
            list_bounds=self.list_bounds,
            lists=self.lists,
            centroids=codec.centroids,
            scale=codec.scale,
            buckets=buckets,
            bucket_step=codec.step,
            bits=codec.bits,
        )

    def _copy_on(self, device: str) -> DeviceVectors:
        """Return the arrays on a device, copied at first use and while the segment is open."""
        from .torch_search import DeviceVectors

        if device not in self._on_device:
            self._on_device[device] = DeviceVectors.copied(
                self.codec, self.offsets, self.codes, self.residuals, device
            )
        return self._on_device[device]

    def _probes_and_candidates(self, k: int, tuning: Tuning) -> tuple[int, int]:
        """Return how many centroids to probe, and how many passages to score with residuals."""
        candidates = tuning.candidates or candidate_count(len(self.offsets) - 1, k)
        return tuning.nprobe or PROBES, max(k, candidates)

    def read(self, first: int, last: int) -> Packed:
        """See `engine.SearchableVectors.read`: float32 vectors, decompressed."""
        begin, end = self.offsets[first], self.offsets[last]
        values = self.codec.decode(self.codes[begin:end], self.residuals[begin:end])
        return Packed(values, self.offsets[first : last + 1] - begin)

    def facts(self) -> dict[str, Any]:
        """See `engine.SearchableVectors.facts`."""
        return {
            "engine": "plaid",
            "centroids": len(self.codec.centroids),
            "nbits": self.codec.bits,
            "residual_error": self.codec.error,
        }


def _device_search(on_cuda: bool) -> Callable[..., list[Scored]]:
    """Return the search on a device: in Triton on CUDA where it is installed, else in torch."""
    if on_cuda:
        try:
            from .cuda_search import search as search_in_triton

            return search_in_triton
        except ImportError:
            pass
    from .torch_search import search

    return search
