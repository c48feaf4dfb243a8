"""What every encoder does alike, whatever runs its network: texts in, packed vectors out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..packed import Packed
from .inputs import InputSpec, tokenize
from .spec import EncoderSpec
from .token_pooling import pool_tokens
from .tokens import TextTokenizer

TOKEN_BUDGET = 16_384  # tokens of one forward pass, unless the encoder knows better
CHUNK_TEXTS, CHUNK_CHARACTERS = 512, 500_000  # texts held at once while streaming


class BaseEncoder(ABC):
    """An encoder of queries.

    kind: "dense" or "late". max_positions: the network's positions.
    name: what the user called it ("nano", a folder, a hub name).
    pool_factor: token pooling of documents, late interaction only; 1 keeps every vector.
    options: with what `load_encoder` makes it again, beside name and head.
    """

    def __init__(
        self,
        kind: str,
        tokenizer: TextTokenizer,
        query: InputSpec,
        document: InputSpec,
        max_positions: int,
        name: str = "",
        pool_factor: float = 1.0,
    ) -> None:
        if pool_factor != 1 and kind == "dense":
            raise InputError("token pooling needs a late-interaction encoder")
        self.kind = kind
        self.tokenizer = tokenizer
        self.query, self.document = query, document
        self.max_positions = max_positions
        self.name = name
        self.pool_factor = pool_factor
        self.options: dict[str, Any] = {}
        if kind == "late":
            for inputs in (query, document):
                tokenizer.register_marker(inputs.prompt)
        # tokens of [CLS] and the prompt; 0 where there is no prompt
        self._query_prompt, self._document_prompt = (
            len(tokenizer.token_ids(inputs.prompt)) + 1 if inputs.prompt else 0
            for inputs in (query, document)
        )

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Numbers in a vector."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """sha256 of everything that decides the vectors: weights, tokenizer, lengths, prompts."""

    @property
    def token_budget(self) -> int:
        """Tokens of one forward pass."""
        return TOKEN_BUDGET

    @property
    @abstractmethod
    def skiplist(self) -> tuple[int, ...]:
        """Ids of tokens of which documents keep no vector, late interaction only."""

    @abstractmethod
    def _forward(self, ids: Packed, content: np.ndarray, inputs: InputSpec) -> Packed:
        """Vectors of one batch; `ids` and `content` as `token_ids` gives them."""

    def encode_queries(self, texts: list[str]) -> Packed:
        """Vectors of queries: Packed float32 (N, dimension), one sequence a text."""
        return self._concatenate(self._stream(texts, self.query))

    def encode_unpooled(self, text: str) -> np.ndarray:
        """(T, dimension) float32: a document's vectors as they are before token pooling."""
        return self._encode(*self.token_ids([text], self.document), self.document)[0]

    def token_ids(self, texts: list[str], inputs: InputSpec) -> tuple[Packed, np.ndarray]:
        """See `tokenize`."""
        return tokenize(self.tokenizer, texts, inputs)

    def set_lengths(self, query: int | None = None, document: int | None = None) -> None:
        """Read so many tokens of a query or of a document, special tokens included.

        Raises InputError for fewer than 4 or for more than the network's positions.
        """
        for length in (query, document):
            if length is not None and not 4 <= length <= self.max_positions:
                raise InputError(f"lengths go from 4 to {self.max_positions} tokens, not {length}")
        if query is not None:
            self.options["query_length"] = query
            expansion = self.query.expansion
            expansion = expansion and replace(expansion, length=query)
            self.query = replace(self.query, limit=query, expansion=expansion)
        if document is not None:
            self.options["document_length"] = document
            self.document = replace(self.document, limit=document)

    def _prompt_length(self, inputs: InputSpec) -> int:
        return self._query_prompt if inputs is self.query else self._document_prompt

    def _concatenate(self, chunks: Iterator[Packed]) -> Packed:
        parts = list(chunks)
        if not parts:
            return Packed(np.zeros((0, self.dimension), np.float32), np.zeros(1, np.int64))
        return Packed.concatenate(parts)

    def _stream(self, texts: Iterable[str], inputs: InputSpec) -> Iterator[Packed]:
        for chunk in chunked(texts):
            vectors = self._encode(*self.token_ids(chunk, inputs), inputs)
            if self.pool_factor != 1 and inputs is self.document:
                vectors = pool_tokens(vectors, self.pool_factor)
            yield vectors

    def _encode(self, ids: Packed, content: np.ndarray, inputs: InputSpec) -> Packed:
        """Packed ids to packed vectors, longest first, `token_budget` tokens at a time."""
        order = np.argsort(-ids.lengths, kind="stable")
        batches = [order[part] for part in token_batches(ids.lengths[order], self.token_budget)]

        def forward(rows: np.ndarray) -> Packed:
            return self._forward(ids.select(rows), content[rows], inputs)

        vectors = Packed.concatenate(self._map(forward, batches))
        return vectors.select(np.argsort(order, kind="stable"))

    def _map(
        self, forward: Callable[[np.ndarray], Packed], batches: list[np.ndarray]
    ) -> list[Packed]:
        """The batches' vectors, in their order."""
        return [forward(rows) for rows in batches]


class FolderEncoder(BaseEncoder):
    """An encoder that is all that its folder says: spec, as it was read."""

    def __init__(self, spec: EncoderSpec, name: str = "") -> None:
        super().__init__(
            spec.head.kind,
            spec.tokenizer,
            spec.query,
            spec.document,
            spec.config.max_position_embeddings,
            name,
            spec.pool_factor,
        )
        self.spec = spec

    @property
    def dimension(self) -> int:
        return self.spec.head.dimension

    @property
    def skiplist(self) -> tuple[int, ...]:
        return self.spec.head.skiplist


class TextEncoder(BaseEncoder):
    """An encoder of queries and of documents."""

    def encode_documents(self, texts: list[str]) -> Packed:
        """Vectors of documents: Packed float32 (N, dimension), one sequence a text."""
        return self._concatenate(self._stream(texts, self.document))

    def stream_documents(self, texts: Iterable[str]) -> Iterator[Packed]:
        """Vectors of any number of documents, a chunk at a time and in order; memory stays flat."""
        return self._stream(texts, self.document)


def chunked(texts: Iterable[str]) -> Iterator[list[str]]:
    """Lists of at most CHUNK_TEXTS texts and about CHUNK_CHARACTERS characters."""
    chunk: list[str] = []
    size = 0
    for text in texts:
        chunk.append(text)
        size += len(text)
        if len(chunk) == CHUNK_TEXTS or size >= CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def token_batches(lengths: np.ndarray, budget: int) -> Iterator[slice]:
    """Runs of neighbouring sequences of at most `budget` tokens together, and at least one."""
    start, held = 0, 0
    for i, length in enumerate(lengths.tolist()):
        if held and held + length > budget:
            yield slice(start, i)
            start, held = i, 0
        held += length
    if len(lengths):
        yield slice(start, len(lengths))
