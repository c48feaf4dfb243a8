"""The engine's arithmetic in torch, for GPUs: the results of `native/plaid.cpp`, in large products.

Loaded only under `device.on_device`. A query goes through the stages of `native/search.h`: the
levels of the centroids, the passages that the best of them lead to, their ranking by centroids
alone, and the scores of the best with residuals. The query is rounded to 8 bits as there, and sums
of such products are exact in float32, so that scores differ by the rounding of the centroids' part
only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from ...packed import Packed
    from .segment import PlaidVectors

SCORES_AT_ONCE = 2**26  # float32 products of vectors and centroids held at once, 256 MiB
VECTORS_AT_ONCE = 2**20  # passage vectors scored at once

_on_device: WeakKeyDictionary[PlaidVectors, dict[str, DeviceVectors]] = WeakKeyDictionary()


def nearest(vectors: np.ndarray, centroids: np.ndarray, device: str) -> np.ndarray:
    """(N, D) and (K, D) float32 to (N,) int32: the centroid at the least Euclidean distance."""
    members = torch.from_numpy(centroids).to(device)
    half_norms = members.square().sum(1) / 2  # (K,)
    found = np.empty(len(vectors), np.int32)
    step = max(1, SCORES_AT_ONCE // len(centroids))
    for first in range(0, len(vectors), step):
        block = torch.from_numpy(np.array(vectors[first : first + step])).to(device)
        scores = torch.addmm(half_norms, block, members.T, beta=-1)  # (n, K)
        found[first : first + step] = scores.argmax(1).cpu().numpy()
    return found


@dataclass(frozen=True)
class DeviceVectors:
    """A segment on a device. offsets: (P + 1,) int64; owners: (N,) int64, the passage of each
    vector; codes: (N,) int64; residuals: (N, bytes) uint8; centroids: (K, D); scale: (D,);
    buckets: (2^bits,) float32, whole numbers, times `step` what a scaled residual is."""

    offsets: Tensor
    owners: Tensor
    codes: Tensor
    residuals: Tensor
    centroids: Tensor
    scale: Tensor
    buckets: Tensor
    step: float
    bits: int

    @classmethod
    def of(cls, segment: PlaidVectors, device: str) -> DeviceVectors:
        """Copied on first use, and kept as long as the segment is open."""
        kept = _on_device.setdefault(segment, {})
        if device not in kept:
            codec = segment.codec
            last = len(codec.centroids) - 1  # bounds the codes of a damaged file
            offsets = torch.from_numpy(np.array(segment.offsets)).to(device)
            codes = torch.from_numpy(segment.codes.astype(np.int64)).to(device)
            kept[device] = cls(
                offsets,
                torch.repeat_interleave(offsets.diff()),
                codes.clamp_(max=last),
                torch.from_numpy(np.array(segment.residuals)).to(device),
                torch.from_numpy(codec.centroids).to(device),
                torch.from_numpy(np.array(codec.scale)).to(device),
                torch.from_numpy(codec.buckets.astype(np.float32)).to(device),
                codec.step,
                codec.bits,
            )
        return kept[device]

    def rows_of(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Of (n,) passages the numbers of all vectors, (m,), and how many each has, (n,)."""
        lengths = self.offsets[places + 1] - self.offsets[places]
        ends = lengths.cumsum(0)
        shift = torch.repeat_interleave(self.offsets[places] - (ends - lengths), lengths)
        return torch.arange(len(shift), device=shift.device) + shift, lengths

    def weights_of(self, rows: Tensor) -> Tensor:
        """(m, D) float32 whole numbers: the buckets of the residuals of these vectors."""
        packed = self.residuals[rows]
        mask = 2**self.bits - 1
        planes = [(packed >> shift) & mask for shift in range(0, 8, self.bits)]
        numbers = torch.cat(planes, dim=1)[:, : self.centroids.shape[1]]
        return self.buckets[numbers.int()]


def search(
    segment: PlaidVectors,
    queries: Packed,
    live: np.ndarray,
    k: int,
    probes: int,
    candidates: int,
    device: str,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """As `PlaidVectors.search`; candidates: at least k."""
    vectors = DeviceVectors.of(segment, device)
    allowed = torch.from_numpy(np.ascontiguousarray(live)).to(device)
    found = []
    for query in queries:
        vectors_of_query = torch.from_numpy(np.array(query, dtype=np.float32)).to(device)
        places, scores = _search_one(vectors, vectors_of_query, allowed, k, probes, candidates)
        found.append((places.cpu().numpy(), scores.cpu().numpy()))
    return found


def _search_one(
    vectors: DeviceVectors, query: Tensor, allowed: Tensor, k: int, probes: int, candidates: int
) -> tuple[Tensor, Tensor]:
    """query: (L, D); allowed: (P,) bool. Places (int64) and scores (float32) of the k best."""
    table = vectors.centroids @ query.T  # (K, L)
    places = allowed.nonzero().squeeze(1)
    if len(places) > candidates:
        levels = _levels(table)
        probed = (levels >= levels.topk(min(probes, len(levels)), dim=0).values[-1]).any(1)  # (K,)
        reached = torch.zeros_like(allowed)
        reached[vectors.owners[probed[vectors.codes]]] = True
        reached &= allowed
        if int(reached.sum()) >= k:  # else all that are allowed
            places = reached.nonzero().squeeze(1)
        sums = _max_sim(vectors, places, lambda rows: levels[vectors.codes[rows]])
        places = places[_best(sums, candidates)].sort().values
    scaled = query * vectors.scale
    most = scaled.abs().amax(1, keepdim=True).clamp(min=1e-20)
    rounded = (scaled * 127 / most).round()  # (L, D) whole numbers
    factors = (vectors.step * most / 127).squeeze(1)  # (L,)

    def scores_of(rows: Tensor) -> Tensor:
        return table[vectors.codes[rows]] + factors * (vectors.weights_of(rows) @ rounded.T)

    scores = _max_sim(vectors, places, scores_of)
    best = _best(scores, k)
    return places[best], scores[best]


def _levels(table: Tensor) -> Tensor:
    """(K, L) float32 whole numbers: 255 for each query vector's best centroid, and one less for
    each 255th of the widest range of scores below it."""
    high = table.amax(0)
    widest = (high - table.amin(0)).amax().clamp(min=1e-20)
    return (255.5 + (table - high) * (255 / widest)).clamp(min=0).floor()


def _max_sim(
    vectors: DeviceVectors, places: Tensor, scores_of: Callable[[Tensor], Tensor]
) -> Tensor:
    """(n,) float32: for each passage the sum over query vectors of the highest score of its own.

    scores_of: (m,) numbers of vectors to (m, L) float32.
    """
    lengths = vectors.offsets[places + 1] - vectors.offsets[places]
    part = (lengths.cumsum(0) - lengths) // VECTORS_AT_ONCE
    sums = []
    for chosen in places.split(torch.bincount(part).tolist()):
        rows, counts = vectors.rows_of(chosen)
        highest = torch.segment_reduce(scores_of(rows), "max", lengths=counts, unsafe=True)
        sums.append(highest.sum(1))
    return torch.cat(sums) if sums else torch.zeros(0, device=places.device)


def _best(scores: Tensor, count: int) -> Tensor:
    """Places of the highest, the earlier of two that are equal."""
    return scores.sort(descending=True, stable=True).indices[:count]
