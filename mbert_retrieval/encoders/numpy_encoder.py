"""Texts without torch: the same vectors from the numpy network, in a process that starts fast."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ..backbone.numpy_model import NumpyModernBert
from ..packed import Packed
from .base import LayoutEncoder, TextEncoder
from .fingerprint import describe, stored_fingerprint
from .inputs import Side, attended_tokens
from .numpy_heads import NumpyHead
from .spec import Layout


class NumpyQueryEncoder(LayoutEncoder, TextEncoder):
    """Encodes queries, and a few documents, as `encoder.Encoder` does (to float32 rounding), and
    has its fingerprint.

    Raises InputError for missing, unknown or wrong-shaped tensors, UnknownDtype for tensors in a
    type that numpy lacks.
    """

    def __init__(self, layout: Layout, name: str = "") -> None:
        super().__init__(layout, name)
        backbone, projections = layout.weights()
        self.backbone = NumpyModernBert(layout.config, backbone)
        self._head = NumpyHead(layout.head, projections)

    @cached_property
    def fingerprint(self) -> str:
        """That of `encoder.Encoder` with the same folder and settings."""
        layout = self.layout
        return stored_fingerprint(describe(layout.head, layout.config, self), layout)

    def _forward(self, ids: Packed, content: np.ndarray, side: Side) -> Packed:
        seen = attended_tokens(ids, content, side)
        hidden = Packed(self.backbone.forward(ids.values, ids.offsets, seen), ids.offsets)
        return self._head(hidden, ids, self._prompt_length(side), side is self.query)
