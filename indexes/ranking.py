"""The best of many scores, with ties decided the same way every time."""

from __future__ import annotations

import numpy as np


def best(scores: np.ndarray, k: int) -> np.ndarray:
    """Places of the k highest of (N,) scores and of all that equal the k-th, in no order.

    Whoever knows the ids then sorts by (score, id) and cuts to k.
    """
    if k >= len(scores):
        return np.arange(len(scores))
    kth = np.partition(scores, len(scores) - k)[len(scores) - k]
    return np.flatnonzero(scores >= kth)
