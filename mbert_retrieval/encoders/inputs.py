"""Queries and documents: how the texts of either side become ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..packed import Packed, offsets_from_lengths, positions
from .tokens import TextTokenizer


@dataclass(frozen=True)
class QueryExpansion:
    """ColBERT's query expansion: [MASK] tokens that fill a query up to `length`.

    attend: whether other tokens may attend to them. cut: whether longer queries are cut at `length`
    (sentence-transformers calls that strategy "fixed", and "min" where they are not).
    """

    length: int
    token_id: int
    attend: bool = False
    cut: bool = True


@dataclass(frozen=True)
class InputSpec:
    """How the texts of one side become ids. limit: tokens in all, special ones included."""

    prompt: str = ""
    limit: int = 8192
    expansion: QueryExpansion | None = None


def tokenize(
    tokenizer: TextTokenizer, texts: list[str], inputs: InputSpec
) -> tuple[Packed, np.ndarray]:
    """The ids that the backbone reads (prompt, special tokens and expansion included), and the
    number of them, (B,) int64, that come before each text's expansion.

    Raises InputError for what is no string.
    """
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"texts must be strings, one is {type(text).__name__}")
    expansion = inputs.expansion
    limit = inputs.limit
    if expansion:
        limit = expansion.length if expansion.cut else max(limit, expansion.length)
    ids = tokenizer.encode([inputs.prompt + text for text in texts], limit)
    if expansion is None:
        return ids, ids.lengths
    lengths = np.maximum(ids.lengths, expansion.length)
    filled = np.full(lengths.sum(), expansion.token_id, dtype=np.int64)
    offsets = offsets_from_lengths(lengths)
    filled[positions(offsets[:-1], ids.lengths)] = ids.values
    return Packed(filled, offsets), ids.lengths


def attended_tokens(ids: Packed, content: np.ndarray, inputs: InputSpec) -> np.ndarray | None:
    """(N,) bool: which tokens others may attend to; None for all of them. See `tokenize`."""
    if inputs.expansion is None or inputs.expansion.attend:
        return None
    place = positions(np.zeros(len(ids), dtype=np.int64), ids.lengths)
    return place < np.repeat(content, ids.lengths)
