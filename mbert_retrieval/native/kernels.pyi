"""Compiled kernels (kernels.cpp).

Arrays are C-contiguous and have exactly these dtypes. ValueError is raised for arrays whose shapes
or offsets do not fit together, MemoryError where memory is short. Codes are uint16 or uint32 as
stored in a segment, and int32 as computed by `nearest`.
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Codes = NDArray[np.uint16] | NDArray[np.uint32]
Numbers = TypeVar("Numbers", NDArray[np.float32], NDArray[np.uint16])  # uint16: bits of bfloat16

TIER: str  # the instruction-set tier in use: "avx512", "avx2", "neon" or "portable"
TIERS: str  # those that this processor allows, best first, separated by spaces
INT8_IS_FAST: bool  # whether int8 products take less time here than torch's in float32
ATTENTION_IS_FAST: bool  # whether attention takes less time here than torch's

# attention

def attend(
    qkv: Numbers,  # (N, 3, heads, D), D a multiple of 16 and at most 256
    cosine: Floats,  # (N, D / 2) of the rotation of each token
    sine: Floats,  # (N, D / 2)
    offsets: NDArray[np.int64],  # (B + 1,)
    window: int,  # tokens attended to on either side; -1 for all
    threads: int,
) -> Numbers:  # (N, heads, D)
    ...
def attend_backward(
    gradients: Numbers,  # (N, heads, D), the gradient of the output
    qkv: Numbers,
    cosine: Floats,
    sine: Floats,
    offsets: NDArray[np.int64],
    window: int,
    threads: int,
) -> Numbers:  # (N, 3, heads, D), the gradient of qkv
    ...

# products in int8

def pack_weights(
    weights: Floats,  # (O, K), both multiples of 16
) -> tuple[NDArray[np.uint8], Floats, NDArray[np.int32]]:
    """Return the numbers in the tier's own layout, (O,) scales, and (O,) corrections."""

def product(
    x: Numbers,  # (N, K); if gated (N, 2 K), for gelu(first half) * second half
    packed: NDArray[np.uint8],
    scales: Floats,
    offsets: NDArray[np.int32],
    gated: bool,
    threads: int,
) -> Numbers:  # (N, O)
    ...

# centroids and residuals

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

# search

class Segment:
    """The arrays of a segment, as `search` takes them."""

class SearchSettings:
    """How a search goes."""

    def __init__(self, k: int, probes: int, candidates: int, threads: int) -> None: ...

def segment(
    *,
    offsets: NDArray[np.int64],  # (P + 1,)
    codes: Codes,  # (N,)
    residuals: NDArray[np.uint8],  # (N, ceil(D * bits / 8))
    list_bounds: NDArray[np.int64],  # (K + 1,)
    lists: NDArray[np.uint32],
    centroids: Floats,  # (K, D)
    scale: Floats,  # (D,)
    buckets: NDArray[np.int8],  # (max(16, 2^bits),)
    bucket_step: float,
    bits: int,
) -> Segment: ...
def search(
    queries: Floats,  # (Nq, D)
    query_offsets: NDArray[np.int64],  # (B + 1,), each query has a vector
    segment: Segment,
    allowed: NDArray[np.uint8],  # (P,), nonzero for passages to search
    settings: SearchSettings,
) -> tuple[list[tuple[NDArray[np.int64], Floats]], dict[str, Any]]:
    """Return for each query (passages, scores) of the k best, in no order; and the work done."""
