"""The compiled part (plaid.cpp): loops over C-contiguous arrays of exactly these dtypes.

Code arrays are uint16 or uint32 as they are stored, int32 where they were just computed.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Codes = NDArray[np.uint16] | NDArray[np.uint32]

def nearest(
    vectors: Floats,  # (N, D)
    leaders: Floats,  # (G, D) a leader for each group of centroids
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
    cutoffs: Floats,  # (2^bits - 1,) rising
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
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:  # (K + 1,) bounds and the lists end to end
    ...
def search(
    queries: Floats,  # (Nq, D)
    query_offsets: NDArray[np.int64],  # (B + 1,)
    offsets: NDArray[np.int64],  # (P + 1,)
    codes: Codes,  # (N,)
    residuals: NDArray[np.uint8],  # (N, ceil(D * bits / 8))
    centroids: Floats,  # (K, D)
    list_bounds: NDArray[np.int64],  # (K + 1,)
    lists: NDArray[np.uint32],
    scale: Floats,  # (D,)
    buckets: NDArray[np.uint8],  # (max(16, 2^bits),)
    bucket_step: float,
    bits: int,
    allowed: NDArray[np.uint8],  # (P,)
    k: int,
    probes: int,
    candidates: int,
    threads: int,
) -> tuple[list[tuple[NDArray[np.int64], Floats]], dict[str, Any]]:
    """For each query (passages, scores) of the k best, in no order; and what work was done."""

def set_vnni(wanted: bool) -> bool: ...
