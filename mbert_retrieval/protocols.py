"""What an index needs of encoders: `load_encoder` returns one, and a class of your own will do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from .packed import Packed


class QueryEncoder(Protocol):
    """What a search needs of an encoder; any object with these attributes will do.

    Attributes:
        name: What the user called the encoder; an index stores it.

    Example:
        >>> import numpy as np
        >>> from mbert_retrieval import Packed
        >>> class LetterCounts:
        ...     name, kind, dimension, fingerprint = "letters", "dense", 26, "letters 1"
        ...
        ...     def encode_queries(self, texts):
        ...         counts = [[text.count(letter) for letter in ALPHABET] for text in texts]
        ...         return Packed.from_rows(np.array(counts, dtype=np.float32))
        ...
        ...     def stream_documents(self, texts):
        ...         for text in texts:
        ...             yield self.encode_queries([text])
        >>> ALPHABET = "abcdefghijklmnopqrstuvwxyz"
        >>> LetterCounts().encode_queries(["abba"]).values[0, :3].tolist()
        [2.0, 2.0, 0.0]
    """

    name: str

    @property
    def kind(self) -> str:
        """What it makes: "dense", one vector per text, or "late", one vector per token."""

    @property
    def dimension(self) -> int:
        """Components of a vector."""

    @property
    def fingerprint(self) -> str:
        """Text that identifies the vectors: it changes with weights, tokenizer and settings."""

    def encode_queries(self, texts: list[str]) -> Packed:
        """Encode queries.

        Args:
            texts: The queries.

        Returns:
            Packed float32 vectors, (N, dimension), one sequence per query.
        """


class DocumentEncoder(QueryEncoder, Protocol):
    """What an index needs of an encoder to build; `load_encoder` returns one.

    See `QueryEncoder` for an example, and `encoders.encoder.Encoder` for the package's own.
    """

    def stream_documents(self, texts: Iterable[str]) -> Iterator[Packed]:
        """Encode any number of documents in chunks.

        Args:
            texts: The documents, read as they are needed.

        Returns:
            An iterator over packed float32 vectors of consecutive documents, one sequence per
            document.
        """
