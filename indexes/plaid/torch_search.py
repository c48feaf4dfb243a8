"""Search with torch, for GPUs: the results of `native/search.h`, computed in large products.

Imported only under `device.on_device`. A query goes through the stages of `native/search.h`: the
levels of the centroids, the passages in the lists of the best ones, their ranking by centroids
alone, and the scores of the best with residuals. The query is rounded to 8 bits as there, and sums
of such products are exact in float32, so that scores differ only by the rounding of the products
with centroids.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...packed import Packed
from ..engine import Scored
from .codec import Codec

VECTORS_AT_ONCE = 2**20  # passage vectors scored at once


@dataclass(frozen=True)
class DeviceVectors:
    """A segment on a device.

    offsets: (P + 1,) int64; passages: (N,) int64, the passage of each vector; codes: (N,) int32;
    residuals: (N, bytes) uint8; centroids: (K, D) float32; scale: (D,) float32; buckets: (2^bits,)
    float32, integers that times `step` are the scaled residuals.
    """

    offsets: Tensor
    passages: Tensor
    codes: Tensor
    residuals: Tensor
    centroids: Tensor
    scale: Tensor
    buckets: Tensor
    step: float
    bits: int

    @classmethod
    def copied(
        cls,
        codec: Codec,
        offsets: np.ndarray,
        codes: np.ndarray,
        residuals: np.ndarray,
        device: str,
    ) -> DeviceVectors:
        """Copy the arrays of a segment to a device."""
        last = len(codec.centroids) - 1  # bounds the codes of a damaged file
        bounds = torch.from_numpy(np.array(offsets)).to(device)
        return cls(
            bounds,
            torch.repeat_interleave(bounds.diff()),
            torch.from_numpy(codes.astype(np.int32)).to(device).clamp_(max=last),
            torch.from_numpy(np.array(residuals)).to(device),
            torch.from_numpy(codec.centroids).to(device),
            torch.from_numpy(np.array(codec.scale)).to(device),
            torch.from_numpy(codec.buckets.astype(np.float32)).to(device),
            codec.step,
            codec.bits,
        )

    def rows_of(self, passages: Tensor) -> tuple[Tensor, Tensor]:
        """Return for (n,) passages the rows of all their vectors, (m,), and their numbers, (n,)."""
        lengths = self.offsets[passages + 1] - self.offsets[passages]
        ends = lengths.cumsum(0)
        shift = torch.repeat_interleave(self.offsets[passages] - (ends - lengths), lengths)
        return torch.arange(len(shift), device=shift.device) + shift, lengths

    def weights_of(self, rows: Tensor) -> Tensor:
        """Return (m, D) float32 integers, the buckets of the residuals of these vectors."""
        packed = self.residuals[rows]
        mask = 2**self.bits - 1
        planes = [(packed >> shift) & mask for shift in range(0, 8, self.bits)]
        numbers = torch.cat(planes, dim=1)[:, : self.centroids.shape[1]]
        return self.buckets[numbers.int()]


def search(
    vectors: DeviceVectors,
    queries: Packed,
    allowed: Tensor,
    k: int,
    probes: int,
    candidates: int,
) -> list[Scored]:
    """Return the k best allowed passages per query; see `engine.SearchableVectors.search`.

    allowed: (P,) bool on the device. candidates: passages to score with residuals, at least k.
    """
    results = []
    for query in queries:
        vectors_of_query = torch.from_numpy(np.array(query, dtype=np.float32)).to(allowed.device)
        passages, scores = _search_one(vectors, vectors_of_query, allowed, k, probes, candidates)
        results.append((passages.cpu().numpy(), scores.cpu().numpy()))
    return results


def _search_one(
    vectors: DeviceVectors, query: Tensor, allowed: Tensor, k: int, probes: int, candidates: int
) -> tuple[Tensor, Tensor]:
    """Return the k best passages (int64) and their scores (float32) for a query (L, D).

    allowed: (P,) bool.
    """
    table = vectors.centroids @ query.T  # (K, L)
    passages = allowed.nonzero().squeeze(1)
    if len(passages) > candidates:
        levels = _levels(table)
        probed = (levels >= levels.topk(min(probes, len(levels)), dim=0).values[-1]).any(1)  # (K,)
        reached = torch.zeros_like(allowed)
        reached[vectors.passages[probed[vectors.codes]]] = True
        reached &= allowed
        if int(reached.sum()) >= k:  # else all that are allowed
            passages = reached.nonzero().squeeze(1)
        sums = _max_sim(vectors, passages, lambda rows: levels[vectors.codes[rows]])
        passages = passages[_best(sums, candidates)].sort().values
    scaled = query * vectors.scale
    most = scaled.abs().amax(1, keepdim=True).clamp(min=1e-20)
    rounded = (scaled * 127 / most).round()  # (L, D) integers
    factors = (vectors.step * most / 127).squeeze(1)  # (L,)

    def scores_of(rows: Tensor) -> Tensor:
        return table[vectors.codes[rows]] + factors * (vectors.weights_of(rows) @ rounded.T)

    scores = _max_sim(vectors, passages, scores_of)
    best = _best(scores, k)
    return passages[best], scores[best]


def _levels(table: Tensor) -> Tensor:
    """Return (K, L) float32 integers: 255 for the best centroid of each query vector, and one less
    for each 255th of the widest range of scores below it."""
    high = table.amax(0)
    widest = (high - table.amin(0)).amax().clamp(min=1e-20)
    return (255.5 + (table - high) * (255 / widest)).clamp(min=0).floor()


def _max_sim(
    vectors: DeviceVectors, passages: Tensor, scores_of: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return (n,) float32: per passage, the sum over query vectors of the highest score of its
    vectors.

    scores_of: maps (m,) rows of vectors to (m, L) float32.
    """
    lengths = vectors.offsets[passages + 1] - vectors.offsets[passages]
    block = (lengths.cumsum(0) - lengths) // VECTORS_AT_ONCE
    sums = []
    for chosen in passages.split(torch.bincount(block).tolist()):
        rows, counts = vectors.rows_of(chosen)
        highest = torch.segment_reduce(scores_of(rows), "max", lengths=counts, unsafe=True)
        sums.append(highest.sum(1))
    return torch.cat(sums) if sums else torch.zeros(0, device=passages.device)


def _best(scores: Tensor, count: int) -> Tensor:
    """Return the positions of the highest scores; of equal ones, the earlier."""
    return scores.sort(descending=True, stable=True).indices[:count]
