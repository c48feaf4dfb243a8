"""Dense and late-interaction encoders on the ModernBERT backbone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import torch

    from .encoder import Encoder

__all__ = ["load_encoder"]

SHIPPED = ("nano",)


def load_encoder(
    name: str | Path,
    head: str | None = None,
    *,
    truncate: int | None = None,
    pool_factor: float = 1.0,
    query_length: int | None = None,
    document_length: int | None = None,
    device: str | None = None,
    dtype: torch.dtype | None = None,
) -> Encoder:
    """Load an encoder: "nano" (shipped in the package), a folder, or a model of the hub.

    Its files tell what it is: a sentence-transformers folder (before or since 6.2), PyLate's,
    Stanford ColBERT's, or a bare ModernBERT (mean pooling, as sentence-transformers takes it).

    head: "dense" or "late" where a checkpoint carries both, as nano does; late by default there.
    truncate: keep the first so many dimensions (Matryoshka), dense only.
    pool_factor: keep 1 / pool_factor of a document's vectors, late interaction only.
    query_length, document_length: tokens read of each, instead of the checkpoint's own.
    device, dtype: CUDA with bfloat16 where there is a GPU, else the CPU with float32.
    Raises InputError when there is no such encoder or its files are broken.
    """
    import torch

    from ..backbone.checkpoint import find_checkpoint
    from .formats import read_encoder

    if head not in (None, "dense", "late"):
        raise InputError(f"head must be dense or late, not {head!r}")
    if truncate is not None and truncate < 1:
        raise InputError("truncate must be at least 1 dimension")
    shipped = str(name) in SHIPPED
    folder = Path(__file__).parent / str(name) if shipped else find_checkpoint(name)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if dtype is None:
        dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    encoder = read_encoder(folder, head, dtype, truncate, pool_factor)
    encoder.name = str(name)
    encoder.set_lengths(query_length, document_length)
    encoder.backbone.to(device)
    encoder.head.to(device)
    return encoder
