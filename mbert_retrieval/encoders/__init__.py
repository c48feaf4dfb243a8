"""Dense and late-interaction encoders on the ModernBERT backbone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    import torch

    from .base import BaseEncoder
    from .encoder import Encoder
    from .onnx_encoder import OnnxEncoder
    from .spec import EncoderSpec

__all__ = ["load_encoder", "load_query_encoder"]

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
    dtype: torch.dtype | str | None = None,
) -> Encoder | OnnxEncoder:
    """Load an encoder: "nano" (shipped in the package), a folder, or a model of the hub.

    Its files tell what it is: a sentence-transformers folder (before or since 6.2), PyLate's,
    Stanford ColBERT's, a bare ModernBERT (mean pooling, as sentence-transformers takes it), or a
    folder with `onnx/model.onnx` in place of weights, which ONNX Runtime runs.

    head: "dense" or "late" where a checkpoint carries both, as nano does; late by default there.
    truncate: keep the first so many dimensions (Matryoshka), dense only.
    pool_factor: keep 1 / pool_factor of a document's vectors, late interaction only.
    query_length, document_length: tokens read of each, instead of the checkpoint's own.
    device: CUDA where there is a GPU, else the CPU.
    dtype: what the network computes in, a torch dtype or "float32", "bfloat16" or "int8" (products
        of matrices in int8, the rest in bfloat16; for encoding on the CPU). By default what the
        environment variable MBERT_DTYPE names, else the fastest that was measured to rank as well:
        on the CPU int8 for nano, bfloat16 for others, float32 where the processor has no better.
        The heads, and the vectors, are float32.
    Raises InputError when there is no such encoder or its files are broken.
    """
    spec = _read_spec(name, head, truncate, pool_factor)
    if spec.is_onnx:
        from .onnx_encoder import OnnxEncoder

        if device not in (None, "cpu") or dtype is not None:
            raise InputError(f"{name} is an ONNX export: it runs on the CPU in its own precision")
        exported = OnnxEncoder(spec, str(name))
        exported.options |= _options(truncate, pool_factor)
        exported.set_lengths(query_length, document_length)
        return exported
    import torch

    from .encoder import build_encoder
    from .precision import chosen_precision, precision_of

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    precision = precision_of(dtype, device) if dtype else chosen_precision(device, name in SHIPPED)
    encoder = build_encoder(spec, precision, device)
    encoder.name = str(name)
    encoder.options |= _options(truncate, pool_factor)
    encoder.set_lengths(query_length, document_length)
    return encoder


def load_query_encoder(
    name: str | Path,
    head: str | None = None,
    *,
    truncate: int | None = None,
    pool_factor: float = 1.0,
    query_length: int | None = None,
    document_length: int | None = None,
) -> BaseEncoder | None:
    """The same encoder for queries alone, without torch: ready in a fraction of the time.

    It has the name, kind, dimension and fingerprint of what `load_encoder` gives, and its
    `encode_queries` gives the same vectors to float32 rounding. Parameters as there.
    None where it cannot be had (tensors in a type that numpy lacks); `load_encoder` does it then.
    Raises InputError when there is no such encoder or its files are broken.
    """
    from ..backbone.arrays import UnknownDtype
    from .numpy_encoder import NumpyQueryEncoder

    spec = _read_spec(name, head, truncate, pool_factor)
    encoder: BaseEncoder
    try:
        if spec.is_onnx:
            from .onnx_encoder import OnnxEncoder

            encoder = OnnxEncoder(spec, str(name))
        else:
            encoder = NumpyQueryEncoder(spec, str(name))
    except UnknownDtype:
        return None
    encoder.options |= _options(truncate, pool_factor)
    encoder.set_lengths(query_length, document_length)
    return encoder


def _options(truncate: int | None, pool_factor: float) -> dict[str, Any]:
    """What differs from the default."""
    given = {"truncate": truncate, "pool_factor": pool_factor}
    return {key: value for key, value in given.items() if value not in (None, 1)}


def _read_spec(
    name: str | Path, head: str | None, truncate: int | None, pool_factor: float
) -> EncoderSpec:
    """What the encoder's files say, but for the weights."""
    from ..backbone.files import find_checkpoint
    from .read import read_spec

    if head not in (None, "dense", "late"):
        raise InputError(f"head must be dense or late, not {head!r}")
    if truncate is not None and truncate < 1:
        raise InputError("truncate must be at least 1 dimension")
    shipped = str(name) in SHIPPED
    folder = Path(__file__).parent / str(name) if shipped else find_checkpoint(name)
    return read_spec(folder, head, truncate, pool_factor)
