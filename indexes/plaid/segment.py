"""A compressed segment, open for searching.

offsets.npy   (P + 1,) int64   where each passage's vectors begin
codes.npy     (N,) uint16 or uint32   the nearest centroid of each vector
residuals.npy   (N, ceil(D bits / 8)) uint8
lists.npy     (L,) uint32   for each centroid the passages with a vector there, rising
list_bounds.npy   (K + 1,) int64   where each list begins
centroids.npy, scale.npy, buckets.npy, cutoffs.npy, codec.json   the codec, perhaps hard links to
              those of another segment
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...native import plaid as kernels
from ...packed import Packed
from .. import flat
from ..arrays import load_array
from ..device import current_device
from ..engine import NO_TUNING, Engine
from .codec import Codec, load_codec
from .parameters import PROBES, candidate_count
from .threads import thread_count


def load(folder: Path, passages: int, vectors: int, dimension: int) -> Engine:
    """See `engine.Kind.load`: of a small segment the vectors themselves."""
    if not (folder / "codec.json").exists():
        return flat.load(folder, passages, vectors, dimension)
    codec = load_codec(folder, dimension)
    offsets = load_array(folder / "offsets.npy", np.int64, (passages + 1,))
    if offsets[0] != 0 or offsets[-1] != vectors or np.any(np.diff(offsets) < 1):
        raise InputError(
            f"{folder / 'offsets.npy'} is damaged: its numbers do not rise as they must"
        )
    bounds = load_array(folder / "list_bounds.npy", np.int64, (len(codec.centroids) + 1,))
    if bounds[0] != 0 or bounds[-1] > vectors or np.any(np.diff(bounds) < 0):
        raise InputError(f"{folder / 'list_bounds.npy'} is damaged: its numbers do not rise")
    width = codec.bytes_per_residual
    return PlaidVectors(
        codec,
        offsets,
        load_array(folder / "codes.npy", codec.code_type, (vectors,)),
        load_array(folder / "residuals.npy", np.uint8, (vectors, width)),
        bounds,
        load_array(folder / "lists.npy", np.uint32, (int(bounds[-1]),)),
    )


@dataclass(frozen=True, eq=False)
class PlaidVectors:
    """The arrays of the module's files, memory-mapped."""

    codec: Codec
    offsets: np.ndarray
    codes: np.ndarray
    residuals: np.ndarray
    list_bounds: np.ndarray
    lists: np.ndarray

    def search(
        self, queries: Packed, live: np.ndarray, k: int, tuning: Mapping[str, int] = NO_TUNING
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """See `engine.Engine.search`. Scores are those of the compressed vectors.

        tuning: "nprobe", centroids whose lists are followed for each query vector; "candidates",
        passages scored with their residuals. Where so few are live, all of them are scored.
        """
        if device := current_device():
            from . import torch_kernels

            probes, candidates = self._reach(len(live), k, tuning)
            return torch_kernels.search(self, queries, live, k, probes, candidates, device)
        return self.search_measured(queries, live, k, tuning)[0]

    def search_measured(
        self, queries: Packed, live: np.ndarray, k: int, tuning: Mapping[str, int] = NO_TUNING
    ) -> tuple[list[tuple[np.ndarray, np.ndarray]], dict[str, Any]]:
        """Also what was done, summed over the queries: "seconds" of each stage (as the query's
        first thread sees them), and counts of centroids, passages and vectors touched."""
        codec = self.codec
        buckets = np.full(max(16, len(codec.buckets)), 128, dtype=np.uint8)
        buckets[: len(codec.buckets)] = codec.buckets.astype(np.int16) + 128
        probes, candidates = self._reach(len(live), k, tuning)
        return kernels.search(
            np.ascontiguousarray(queries.values, dtype=np.float32),
            queries.offsets,
            self.offsets,
            self.codes,
            self.residuals,
            codec.centroids,
            self.list_bounds,
            self.lists,
            codec.scale,
            buckets,
            codec.step,
            codec.bits,
            np.ascontiguousarray(live).view(np.uint8),
            k,
            probes,
            candidates,
            thread_count(),
        )

    @staticmethod
    def _reach(passages: int, k: int, tuning: Mapping[str, int]) -> tuple[int, int]:
        """How many centroids are probed, and how many passages scored with residuals."""
        candidates = tuning.get("candidates") or candidate_count(passages, k)
        return tuning.get("nprobe") or PROBES, max(k, candidates)

    def read(self, first: int, last: int) -> Packed:
        """See `engine.Engine.read`: float32 vectors as they were compressed."""
        begin, end = self.offsets[first], self.offsets[last]
        values = self.codec.decode(self.codes[begin:end], self.residuals[begin:end])
        return Packed(values, self.offsets[first : last + 1] - begin)

    def facts(self) -> dict[str, Any]:
        return {
            "engine": "plaid",
            "centroids": len(self.codec.centroids),
            "nbits": self.codec.bits,
            "residual_error": self.codec.error,
        }
