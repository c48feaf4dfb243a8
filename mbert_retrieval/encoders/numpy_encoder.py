"""Encoding without torch: the same vectors by the numpy network, in a process that starts fast."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ..backbone.numpy_model import NumpyModernBert
from ..packed import Packed
from .base import FolderEncoder
from .fingerprint import describe, stored_fingerprint
from .inputs import InputSpec, attended_tokens
from .numpy_heads import NumpyHead
from .spec import EncoderSpec


class NumpyQueryEncoder(FolderEncoder):
    """Encode queries, and a few documents, without torch.

    Vectors and fingerprint are those of `encoder.Encoder`, the vectors to float32 rounding.

    Args:
        spec: The encoder's folder.
        name: What the user called the encoder.

    Raises:
        InputError: For missing, unknown or wrong-shaped tensors.
        UnknownDtype: For tensors in a type that numpy lacks.

    Example:
        >>> from mbert_retrieval.encoders import load_query_encoder
        >>> encoder = load_query_encoder("nano", head="dense")
        >>> encoder.encode_queries("parse a date").values.shape
        (1, 256)
    """

    def __init__(self, spec: EncoderSpec, name: str = "") -> None:
        super().__init__(spec, name)
        backbone, projections = spec.weights()
        self.backbone = NumpyModernBert(spec.config, backbone)
        self._head = NumpyHead(spec.head, projections)

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of `encoder.Encoder` with the same folder and settings."""
        spec = self.spec
        return stored_fingerprint(describe(spec.head, spec.config, self), spec)

    def _forward(self, ids: Packed, content: np.ndarray, inputs: InputSpec) -> Packed:
        attended = attended_tokens(ids, content, inputs)
        hidden = Packed(self.backbone.forward(ids.values, ids.offsets, attended), ids.offsets)
        return self._head(hidden, ids, self._prompt_length(inputs), inputs is self.query)
