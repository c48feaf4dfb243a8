"""Engine "plaid": late interaction over compressed vectors.

Santhanam et al. 2022, "PLAID" (arXiv 2205.09707) and "ColBERTv2" (arXiv 2112.01488). A vector is
stored as the number of its nearest centroid and a few bits per dimension of the residual (`codec`).
A query is answered in stages (`native/search.h`): score the centroids, follow the inverted lists
of the best ones to passages (`segment`), rank these by their centroids alone, and score the best of
those with their residuals.

A segment of fewer than EXACT_PASSAGES stores its vectors uncompressed and is searched exactly.
"""

from .building import EXACT_PASSAGES, build, check, merge
from .segment import load

__all__ = ["EXACT_PASSAGES", "build", "check", "load", "merge"]
