"""Queries without torch: the same vectors from the numpy network, in a process that starts fast."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ..backbone.numpy_model import NumpyModernBert
from ..packed import Packed
from .base import BaseEncoder
from .fingerprint import describe, stored_fingerprint
from .layout import Layout
from .numpy_heads import NumpyHead
from .sides import Side, attended_tokens


class QueryEncoder(BaseEncoder):
    """Encodes queries as `encoder.Encoder` does (to float32 rounding), and has its fingerprint.

    Raises InputError for missing, unknown or wrong-shaped tensors, UnknownDtype for tensors in a
    type that numpy lacks.
    """

    def __init__(self, layout: Layout, name: str = "") -> None:
        super().__init__(
            layout.head.kind,
            layout.tokenizer,
            layout.query,
            layout.document,
            layout.config.max_position_embeddings,
            name,
            layout.pool_factor,
        )
        self.layout = layout
        backbone, projections = layout.weights()
        self.backbone = NumpyModernBert(layout.config, backbone)
        self._head = NumpyHead(layout.head, projections)

    @property
    def dimension(self) -> int:
        return self.layout.head.dimension

    @cached_property
    def fingerprint(self) -> str:
        """That of `encoder.Encoder` with the same folder and settings."""
        layout = self.layout
        description = describe(
            layout.head,
            layout.config,
            self.tokenizer,
            self.query,
            self.document,
            self.pool_factor,
        )
        return stored_fingerprint(description, layout)

    def _forward(self, ids: Packed, content: np.ndarray, side: Side) -> Packed:
        seen = attended_tokens(ids, content, side)
        hidden = Packed(self.backbone.forward(ids.values, ids.offsets, seen), ids.offsets)
        return self._head(hidden, ids, self._prompt_length(side), side is self.query)
