"""Compiled loops of the multi-vector engine (plaid.cpp).

Arrays are C-contiguous and have exactly these dtypes. Codes are uint16 or uint32 as stored in a
segment, and int32 as computed by `nearest`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Codes = NDArray[np.uint16] | NDArray[np.uint32]

HAS_VNNI: bool  # whether this processor has AVX-512 VNNI

def nearest(
    vectors: Floats,  # (N, D)
    leaders: Floats,  # (G, D) the leader of each group of centroids
    leader_norms: Floats,  # (G,) half of their squared lengths
    members: Floats,  # (K, D) centroids, group by group
    member_norms: Floats,  # (K,)
    bounds: NDArray[np.int64],  # (G + 1,) where each group begins
    probes: int,  # groups that a vector is compared with
    threads: int,
) -> NDArray[np.int32]:  # (N,) rows of `members`
    ...
def accumulate(
    vectors: Floats,  # (N, D)
    codes: NDArray[np.int32],  # (N,)
    sums: Floats,  # (K, D), added to
    counts: NDArray[np.int64],  # (K,), added to
) -> None: ...
def pack(
    vectors: Floats,  # (N, D)
    codes: NDArray[np.int32],  # (N,)
    centroids: Floats,  # (K, D)
    inverse_scale: Floats,  # (D,)
    cutoffs: Floats,  # (2^bits - 1,) increasing
    bits: int,
    threads: int,
) -> NDArray[np.uint8]:  # (N, ceil(D * bits / 8))
    ...
def unpack(
    codes: Codes,  # (N,)
    residuals: NDArray[np.uint8],  # (N, ceil(D * bits / 8))
    centroids: Floats,  # (K, D)
    scale: Floats,  # (D,)
    weights: Floats,  # (2^bits,)
    bits: int,
) -> Floats:  # (N, D)
    ...
def invert(
    codes: Codes,  # (N,)
    offsets: NDArray[np.int64],  # (P + 1,)
    centroids: int,
) -> tuple[
    NDArray[np.int64], NDArray[np.uint32]
]:  # (K + 1,) bounds, and the lists one after the other
    ...

class Segment:
    """The arrays of a segment, as `search` takes them."""

class SearchSettings:
    """How a search goes. vnni: score residuals with AVX-512 VNNI if the processor has it."""

    def __init__(self, k: int, probes: int, candidates: int, threads: int, vnni: bool) -> None: ...

def segment(
    *,
    offsets: NDArray[np.int64],  # (P + 1,)
    codes: Codes,  # (N,)
    residuals: NDArray[np.uint8],  # (N, ceil(D * bits / 8))
    list_bounds: NDArray[np.int64],  # (K + 1,)
    lists: NDArray[np.uint32],
    centroids: Floats,  # (K, D)
    scale: Floats,  # (D,)
    buckets: NDArray[np.uint8],  # (max(16, 2^bits),)
    bucket_step: float,
    bits: int,
) -> Segment: ...
def search(
    queries: Floats,  # (Nq, D)
    query_offsets: NDArray[np.int64],  # (B + 1,)
    segment: Segment,
    allowed: NDArray[np.uint8],  # (P,), nonzero for passages to search
    settings: SearchSettings,
) -> tuple[list[tuple[NDArray[np.int64], Floats]], dict[str, Any]]:
    """Return for each query (passages, scores) of the k best, in no order; and the work done."""
