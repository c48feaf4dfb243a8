"""Choose where an index is built and searched: on the processor, or on a torch device.

    with on_device("cuda"):
        index = Index.build("my.index", passages, encoder)
        rankings = index.search_many(texts)

The results are the same. torch is imported only inside, and only by engines that can use a device
(plaid: k-means, the assignment to centroids, and searches).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..errors import InputError

_device: ContextVar[str | None] = ContextVar("device", default=None)


@contextmanager
def on_device(name: str | None) -> Iterator[None]:
    """Build and search on a device inside the `with` block, in this thread or task.

    Args:
        name: A torch device such as "cuda" or "cuda:1"; None for the compiled kernels.

    Raises:
        InputError: If there is no such device.

    Example:
        >>> with on_device(None):
        ...     current_device() is None
        True
    """
    if name is not None:
        import torch

        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError):
            raise InputError(
                f"there is no device {name!r} here: name another, or none to use the processor"
            ) from None
    token = _device.set(name)
    try:
        yield
    finally:
        _device.reset(token)


def current_device() -> str | None:
    """Return the device of the innermost `on_device` block, or None."""
    return _device.get()


def thread_count() -> int:
    """Return the number of threads that the compiled kernels use.

    That is the number of processors that this process may run on, or OMP_NUM_THREADS if less.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(available or 1, int(limit) if limit.isdigit() else 2**16))
