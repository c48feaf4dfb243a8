"""What every encoder does alike, whatever runs its network: texts in, packed vectors out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..packed import Packed
from .inputs import InputSpec, checked_texts, tokenize
from .spec import EncoderSpec
from .token_pooling import pool_tokens
from .tokens import TextTokenizer

TOKEN_BUDGET = 16_384  # tokens of one forward pass, unless the encoder knows better
CHUNK_TEXTS, CHUNK_CHARACTERS = 512, 500_000  # texts in memory at once while streaming


class BaseEncoder(ABC):
    """An encoder of queries and documents; subclasses run the network.

    Args:
        kind: "dense" (one vector per text) or "late" (one vector per token).
        tokenizer: The tokenizer.
        query: How queries are read.
        document: How documents are read.
        max_positions: The longest input of the network, in tokens.
        name: What the user called the encoder: "nano", a folder, or a model of the hub.
        pool_factor: Token pooling of documents, late interaction only; 1 keeps every vector.

    Attributes:
        options: Arguments with which `load_encoder` loads this encoder again, besides name and
            head.
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
        """Components of a vector."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """sha256 of everything that decides the vectors: weights, tokenizer, lengths, prompts."""

    @property
    @abstractmethod
    def skiplist(self) -> tuple[int, ...]:
        """Ids of tokens whose vectors are dropped from documents, late interaction only."""

    @property
    def token_budget(self) -> int:
        """The most tokens of one forward pass."""
        return TOKEN_BUDGET

    @abstractmethod
    def _forward(self, ids: Packed, content: np.ndarray, inputs: InputSpec) -> Packed:
        """Return the vectors of one batch; `ids` and `content` as `token_ids` gives them."""

    def encode_queries(self, texts: str | Sequence[str]) -> Packed:
        """Encode queries.

        Args:
            texts: The queries. A single string is one query.

        Returns:
            Packed float32 vectors, (N, dimension), with one sequence per query: one vector of a
            dense encoder, one per token of a late-interaction encoder.

        Raises:
            TypeError: When `texts` is not a string or a sequence of strings.

        Example:
            >>> from mbert_retrieval import load_encoder
            >>> encoder = load_encoder("nano", head="dense")
            >>> encoder.encode_queries(["retry a request", "parse a date"]).values.shape
            (2, 256)
        """
        return self._concatenate(self._stream(checked_texts(texts), self.query))

    def encode_documents(self, texts: str | Sequence[str]) -> Packed:
        """Encode documents; see `stream_documents` for more of them than fit in memory.

        Args:
            texts: The documents. A single string is one document.

        Returns:
            Packed float32 vectors, (N, dimension), with one sequence per document: one vector of a
            dense encoder; of a late-interaction encoder one per token, fewer with a skiplist or
            token pooling.

        Raises:
            TypeError: When `texts` is not a string or a sequence of strings.

        Example:
            >>> from mbert_retrieval import load_encoder
            >>> encoder = load_encoder("nano")
            >>> len(encoder.encode_documents("def circle(r): return 3.14 * r * r"))
            1
        """
        return self._concatenate(self._stream(checked_texts(texts), self.document))

    def stream_documents(self, texts: Iterable[str]) -> Iterator[Packed]:
        """Encode any number of documents in chunks; memory does not grow with their number.

        Args:
            texts: The documents, read as they are needed.

        Returns:
            An iterator over packed vectors of consecutive documents, as `encode_documents` returns
            them.

        Raises:
            TypeError: When `texts` is not a string or an iterable of strings.

        Example:
            >>> from mbert_retrieval import load_encoder
            >>> encoder = load_encoder("nano")
            >>> texts = (f"document {i}" for i in range(3))
            >>> sum(len(chunk) for chunk in encoder.stream_documents(texts))
            3
        """
        return self._stream(checked_texts(texts), self.document)

    def encode_unpooled(self, text: str) -> np.ndarray:
        """Return a document's vectors before token pooling, (T, dimension) float32."""
        return self._encode(*self.token_ids([text], self.document), self.document)[0]

    def token_ids(self, texts: list[str], inputs: InputSpec) -> tuple[Packed, np.ndarray]:
        """Convert texts to token ids; see `inputs.tokenize`."""
        return tokenize(self.tokenizer, texts, inputs)

    def set_lengths(self, query: int | None = None, document: int | None = None) -> None:
        """Change how many tokens of a query or of a document are read.

        Args:
            query: Tokens of a query, special tokens included; None leaves it as it is.
            document: Tokens of a document, likewise.

        Raises:
            InputError: For less than 4, or more than the network's positions.
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
            yield self._pooled(vectors) if inputs is self.document else vectors

    def _pooled(self, vectors: Packed) -> Packed:
        return vectors if self.pool_factor == 1 else pool_tokens(vectors, self.pool_factor)

    def _encode(self, ids: Packed, content: np.ndarray, inputs: InputSpec) -> Packed:
        """Encode packed ids."""

        def forward(rows: np.ndarray) -> list[Packed]:
            return [self._forward(ids.select(rows), content[rows], inputs)]

        (vectors,) = self._in_batches(ids.lengths, forward)
        return vectors

    def _in_batches(
        self, lengths: np.ndarray, forward: Callable[[np.ndarray], list[Packed]]
    ) -> list[Packed]:
        """Encode sequences, longest first, in batches of `token_budget` tokens.

        forward: returns the vectors of some sequences, by their numbers, from each head.
        """
        order = np.argsort(-lengths, kind="stable")
        batches = [order[rows] for rows in token_batches(lengths[order], self.token_budget)]
        inverse = np.argsort(order, kind="stable")
        by_head = zip(*self._map(forward, batches), strict=True)
        return [Packed.concatenate(list(vectors)).select(inverse) for vectors in by_head]

    def _map(
        self, forward: Callable[[np.ndarray], list[Packed]], batches: list[np.ndarray]
    ) -> list[list[Packed]]:
        """Return what `forward` returns for each batch, in order."""
        return [forward(rows) for rows in batches]


class FolderEncoder(BaseEncoder):
    """An encoder that stays as its folder describes it.

    Args:
        spec: The folder's description.
        name: What the user called the encoder.
    """

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


def chunked(texts: Iterable[str]) -> Iterator[list[str]]:
    """Cut texts into lists of at most CHUNK_TEXTS texts and about CHUNK_CHARACTERS characters."""
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
    """Cut sequences into runs of at most `budget` tokens, and of at least one sequence."""
    start, tokens = 0, 0
    for i, length in enumerate(lengths.tolist()):
        if tokens and tokens + length > budget:
            yield slice(start, i)
            start, tokens = i, 0
        tokens += length
    if len(lengths):
        yield slice(start, len(lengths))
