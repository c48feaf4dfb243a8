"""Kind "plaid": late interaction over compressed vectors.

Santhanam et al. 2022, "PLAID" and "ColBERTv2". A vector is kept as its nearest centroid and a few
bits a dimension of what is left (`codec`). A query is answered in stages (`native/plaid.cpp`):
score the centroids, follow the lists of the best of them to passages (`segment`), rank these by
their centroids alone, and score the best of those with their residuals.

A segment of fewer than EXACT_PASSAGES keeps its vectors as they came and is searched exactly.
"""

from .building import EXACT_PASSAGES, build, check, merge
from .segment import load

__all__ = ["EXACT_PASSAGES", "build", "check", "load", "merge"]
