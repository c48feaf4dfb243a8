"""How many threads numpy's matrix products use."""

from __future__ import annotations

import os


def limit_blas_threads() -> None:
    """Give each product one thread; call it before numpy loads.

    The products of a query are small: more threads make one no faster, and wait for each other
    with a busy processor, which on a loaded machine makes searches a hundred times slower.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
