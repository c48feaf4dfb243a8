"""What is chosen by the size of a segment when nothing is asked for; see benchmarks/plaid.py."""

from __future__ import annotations

import math

BITS = 4
PROBES = 8  # centroids whose lists are followed, for each query vector


def centroid_count(vectors: int) -> int:
    """The power of two below 8 sqrt(vectors)."""
    return 2 ** max(0, math.floor(math.log2(8 * math.sqrt(max(1, vectors)))))


def candidate_count(passages: int, k: int) -> int:
    """How many of the passages that the centroids rank best are scored with their residuals: for
    10,000 passages 1,024, growing with the square root, and enough for k."""
    return max(4 * k, 1024, math.ceil(1024 * math.sqrt(passages / 10_000)))
