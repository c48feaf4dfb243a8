"""Where an index is built and searched in batches: on the processor, or on a device of torch's.

    with on_device("cuda"):
        index = Index.build("my.index", passages, encoder)
        rankings = index.search_many(texts)

The results are the same. torch is loaded only inside, and only by kinds of index that compute there
(plaid: k-means, the assignment to centroids, and searches).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..errors import InputError

_device: ContextVar[str | None] = ContextVar("device", default=None)


@contextmanager
def on_device(name: str | None) -> Iterator[None]:
    """name: of a torch device, such as "cuda" or "cuda:1"; None for the compiled kernels.

    Raises InputError when there is no such device.
    """
    if name is not None:
        import torch

        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError):
            raise InputError(
                f"there is no device {name!r} here: use another, or none for the processor"
            ) from None
    token = _device.set(name)
    try:
        yield
    finally:
        _device.reset(token)


def current_device() -> str | None:
    """What the innermost `on_device` names."""
    return _device.get()
