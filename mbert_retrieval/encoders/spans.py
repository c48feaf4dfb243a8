"""Which piece of a text each of its vectors stands for, in late interaction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import BaseEncoder


@dataclass(frozen=True)
class TokenSpans:
    """The tokens of one text that have a vector, in the vectors' order.

    spans: (T, 2) int64, where each stands in the text, in characters; (-1, -1) for what is not of
        the text: special tokens, the prompt, the expansion.
    names: the text of each, or for what is not of the text the token's name ("[CLS]").
    """

    spans: np.ndarray
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)


def query_token_spans(encoder: BaseEncoder, text: str) -> TokenSpans:
    """A query has a vector for each token, those of the expansion included."""
    return _pieces(encoder, text, is_query=True)


def document_token_spans(encoder: BaseEncoder, text: str) -> TokenSpans:
    """A document has none for the tokens of the encoder's skiplist. Without token pooling these
    are the vectors that `encode_documents` gives."""
    return _pieces(encoder, text, is_query=False)


def _pieces(encoder: BaseEncoder, text: str, is_query: bool) -> TokenSpans:
    inputs = encoder.query if is_query else encoder.document
    packed, content = encoder.token_ids([text], inputs)
    ids = packed[0]
    tokenizer = encoder.tokenizer
    found = tokenizer.spans(inputs.prompt + text, int(content[0]))
    spans = np.full((len(ids), 2), -1, dtype=np.int64)
    names = []
    for place, token in enumerate(ids.tolist()):
        start, end = found[place] if place < len(found) else (0, 0)
        start, end = max(0, start - len(inputs.prompt)), end - len(inputs.prompt)
        while start < end and text[start].isspace():
            start += 1
        if start < end:
            spans[place] = start, end
            names.append(text[start:end])
        else:
            names.append(tokenizer.token_of(token))
    if is_query or not encoder.skiplist:
        return TokenSpans(spans, names)
    kept = ~np.isin(ids, encoder.skiplist)
    return TokenSpans(spans[kept], [name for name, keep in zip(names, kept, strict=True) if keep])
