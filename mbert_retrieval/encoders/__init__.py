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
    """Load an encoder of queries and documents.

    The files decide what it is: a sentence-transformers folder (before or since 6.2), one of
    PyLate, one of Stanford ColBERT, a bare ModernBERT (mean pooling, as sentence-transformers
    does), or a folder with `onnx/model.onnx` in place of weights, which ONNX Runtime runs.

    Args:
        name: "nano" (shipped with the package), a folder, or a model of the Hugging Face hub.
        head: "dense" or "late" for a checkpoint with both heads, such as nano; None for its main
            one, late interaction in nano.
        truncate: Keep this many leading dimensions (Matryoshka), dense only.
        pool_factor: Keep 1 / pool_factor of a document's vectors, late interaction only.
        query_length: Tokens read of a query, instead of the checkpoint's own limit.
        document_length: Tokens read of a document, likewise.
        device: Where the network runs, as torch names it; CUDA by default where there is a GPU.
        dtype: What the network computes in: a torch dtype, or "float32", "bfloat16", "float16" or
            "int8" (matrix products in int8 and the rest in bfloat16, on the CPU only). By default
            the environment variable MBERT_DTYPE, else the fastest that was measured to rank as
            well: on the CPU int8 for nano and bfloat16 for others, float32 where the processor has
            nothing faster. Heads and vectors are float32 in any case.

    Returns:
        The encoder; an `OnnxEncoder` for an ONNX export.

    Raises:
        InputError: When there is no such encoder, its files are broken, or an option does not fit.

    Example:
        >>> from mbert_retrieval import load_encoder
        >>> encoder = load_encoder("nano", head="dense")
        >>> query = encoder.encode_queries("parse a date")
        >>> documents = encoder.encode_documents(["def parse_date(text)", "def circle(r)"])
        >>> int((documents.values @ query.values[0]).argmax())
        0
    """
    spec = _read_spec(name, head, truncate, pool_factor)
    if spec.is_onnx:
        from .onnx_encoder import OnnxEncoder

        if device not in (None, "cpu") or dtype is not None:
            raise InputError(
                f"{name} is an ONNX export, which runs on the CPU in its own precision: "
                "leave out device and dtype"
            )
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
    """Load an encoder without torch, to encode queries: ready in a fraction of the time.

    It has the name, kind, dimension and fingerprint of what `load_encoder` returns, and the same
    vectors to float32 rounding.

    Args:
        name: As in `load_encoder`.
        head: As in `load_encoder`.
        truncate: As in `load_encoder`.
        pool_factor: As in `load_encoder`.
        query_length: As in `load_encoder`.
        document_length: As in `load_encoder`.

    Returns:
        The encoder, or None when only torch can load it (tensors in a type that numpy lacks).

    Raises:
        InputError: When there is no such encoder, its files are broken, or an option does not fit.

    Example:
        >>> from mbert_retrieval.encoders import load_query_encoder
        >>> load_query_encoder("nano").encode_queries("parse a date").values.dtype
        dtype('float32')
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
    """Return the options that differ from the default."""
    given = {"truncate": truncate, "pool_factor": pool_factor}
    return {key: value for key, value in given.items() if value not in (None, 1)}


def _read_spec(
    name: str | Path, head: str | None, truncate: int | None, pool_factor: float
) -> EncoderSpec:
    """Read what the encoder's files describe, weights aside."""
    from ..backbone.files import find_checkpoint
    from .read import read_spec

    if not isinstance(name, str | Path):
        raise TypeError(f"name must be a string or a Path, not {type(name).__name__}")
    if head not in (None, "dense", "late"):
        raise InputError(f"head must be dense or late, not {head!r}")
    if truncate is not None and truncate < 1:
        raise InputError("truncate must be at least 1 dimension")
    shipped = str(name) in SHIPPED
    folder = Path(__file__).parent / str(name) if shipped else find_checkpoint(name)
    return read_spec(folder, head, truncate, pool_factor)
