"""Texts without torch: the same vectors from the numpy network, in a process that starts fast."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ..backbone.numpy_model import NumpyModernBert
from ..packed import Packed
from .base import FolderEncoder, TextEncoder
from .fingerprint import describe, stored_fingerprint
from .inputs import InputSpec, attended_tokens
from .numpy_heads import NumpyHead
from .spec import EncoderSpec


class NumpyQueryEncoder(FolderEncoder, TextEncoder):
    """Encodes queries, and a few documents, as `encoder.Encoder` does (to float32 rounding), and
    has its fingerprint.

    Raises InputError for missing, unknown or wrong-shaped tensors, UnknownDtype for tensors in a
    type that numpy lacks.
    """

    def __init__(self, spec: EncoderSpec, name: str = "") -> None:
        super().__init__(spec, name)
        backbone, projections = spec.weights()
        self.backbone = NumpyModernBert(spec.config, backbone)
        self._head = NumpyHead(spec.head, projections)

    @cached_property
    def fingerprint(self) -> str:
        """That of `encoder.Encoder` with the same folder and settings."""
        spec = self.spec
        return stored_fingerprint(describe(spec.head, spec.config, self), spec)

    def _forward(self, ids: Packed, content: np.ndarray, inputs: InputSpec) -> Packed:
        seen = attended_tokens(ids, content, inputs)
        hidden = Packed(self.backbone.forward(ids.values, ids.offsets, seen), ids.offsets)
        return self._head(hidden, ids, self._prompt_length(inputs), inputs is self.query)
