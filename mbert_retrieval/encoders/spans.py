"""Which characters of a text each vector of late interaction stands for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import BaseEncoder


@dataclass(frozen=True)
class TokenSpans:
    """The tokens of one text that have a vector, in the vectors' order.

    Attributes:
        spans: (T, 2) int64: start and end of each token in the text, in characters. (-1, -1) for
            what is not part of the text: special tokens, the prompt, the expansion.
        names: The text of each token, or its name in the vocabulary ("[CLS]") for what is not part
            of the text.
    """

    spans: np.ndarray
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)


def query_token_spans(encoder: BaseEncoder, text: str) -> TokenSpans:
    """Return the tokens of a query, all of which have a vector, the expansion's included."""
    return _token_spans(encoder, text, is_query=True)


def document_token_spans(encoder: BaseEncoder, text: str) -> TokenSpans:
    """Return the tokens of a document, except those on the encoder's skiplist.

    Without token pooling they match the vectors of `encode_documents` one to one.
    """
    return _token_spans(encoder, text, is_query=False)


def _token_spans(encoder: BaseEncoder, text: str, is_query: bool) -> TokenSpans:
    inputs = encoder.query if is_query else encoder.document
    packed, content = encoder.token_ids([text], inputs)
    ids = packed[0]
    tokenizer = encoder.tokenizer
    offsets = tokenizer.spans(inputs.prompt + text, int(content[0]))
    spans = np.full((len(ids), 2), -1, dtype=np.int64)
    names = []
    for i, token in enumerate(ids.tolist()):
        start, end = offsets[i] if i < len(offsets) else (0, 0)
        start, end = max(0, start - len(inputs.prompt)), end - len(inputs.prompt)
        while start < end and text[start].isspace():
            start += 1
        if start < end:
            spans[i] = start, end
            names.append(text[start:end])
        else:
            names.append(tokenizer.token_of(token))
    if is_query or not encoder.skiplist:
        return TokenSpans(spans, names)
    has_vector = ~np.isin(ids, encoder.skiplist)
    return TokenSpans(spans[has_vector], [names[i] for i in np.flatnonzero(has_vector)])
