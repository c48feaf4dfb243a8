"""How the texts of queries and documents become the token ids that the backbone reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

import numpy as np

from ..packed import Packed, offsets_from_lengths, positions
from .tokens import TextTokenizer


@dataclass(frozen=True)
class QueryExpansion:
    """ColBERT's query augmentation (Khattab and Zaharia 2020): [MASK] tokens after a query.

    Attributes:
        length: Tokens of an expanded query, special tokens included.
        token_id: Id of the token that fills it, [MASK] as a rule.
        attend: Whether other tokens may attend to the expansion.
        cut: Whether longer queries are truncated to `length`. sentence-transformers calls this
            strategy "fixed", and "min" when they are not.
    """

    length: int
    token_id: int
    attend: bool = False
    cut: bool = True


@dataclass(frozen=True)
class InputSpec:
    """How an encoder reads its queries, or its documents.

    Attributes:
        prompt: Text in front of every input, such as "[Q] " or "search_query: ".
        limit: The most tokens of one input, special tokens included; the rest is truncated.
        expansion: Query expansion of late interaction, if any.
    """

    prompt: str = ""
    limit: int = 8192
    expansion: QueryExpansion | None = None


def checked_texts(texts: str | Iterable[str]) -> Iterator[str]:
    """Check the texts to encode; a single string is one text.

    Args:
        texts: What a caller passes to `encode_queries` or `encode_documents`.

    Returns:
        An iterator over the texts.

    Raises:
        TypeError: At the call for anything but a string or a collection of strings, and during
            iteration for an element that is not a string.
    """
    if isinstance(texts, str):
        return iter((texts,))
    unordered = isinstance(texts, bytes | bytearray | Mapping | Set)
    if unordered or not isinstance(texts, Iterable):
        raise TypeError(f"texts must be a string or a list of strings, not {type(texts).__name__}")
    return _checked_elements(texts)


def _checked_elements(texts: Iterable[str]) -> Iterator[str]:
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"texts must be a string or a list of strings: texts[{i}] is {type(text).__name__}"
            )
        yield text


def tokenize(
    tokenizer: TextTokenizer, texts: list[str], inputs: InputSpec
) -> tuple[Packed, np.ndarray]:
    """Convert texts to the ids that the backbone reads: prompt, special tokens and expansion.

    Args:
        tokenizer: The encoder's tokenizer.
        texts: Queries or documents.
        inputs: How they are read.

    Returns:
        The ids, Packed int64 with one sequence per text, and the number of tokens that precede each
        text's expansion, (B,) int64.

    Raises:
        TypeError: For an element of `texts` that is not a string.
    """
    expansion = inputs.expansion
    limit = inputs.limit
    if expansion:
        limit = expansion.length if expansion.cut else max(limit, expansion.length)
    ids = tokenizer.encode([inputs.prompt + text for text in checked_texts(texts)], limit)
    if expansion is None:
        return ids, ids.lengths
    lengths = np.maximum(ids.lengths, expansion.length)
    filled = np.full(lengths.sum(), expansion.token_id, dtype=np.int64)
    offsets = offsets_from_lengths(lengths)
    filled[positions(offsets[:-1], ids.lengths)] = ids.values
    return Packed(filled, offsets), ids.lengths


def attended_tokens(ids: Packed, content: np.ndarray, inputs: InputSpec) -> np.ndarray | None:
    """Tell which tokens the others may attend to.

    Args:
        ids: The token ids that `tokenize` returned.
        content: The lengths before expansion that `tokenize` returned.
        inputs: How the texts were read.

    Returns:
        (N,) bool, or None when all tokens may be attended to.
    """
    if inputs.expansion is None or inputs.expansion.attend:
        return None
    index = positions(np.zeros(len(ids), dtype=np.int64), ids.lengths)  # (N,) in its own sequence
    return index < np.repeat(content, ids.lengths)
