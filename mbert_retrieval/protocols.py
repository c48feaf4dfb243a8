"""What an index needs of encoders, and documents through several of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, tee
from typing import Protocol

from .packed import Packed
from .types import Passage


class QueryEncoder(Protocol):
    """What a search needs of an encoder."""

    name: str

    @property
    def kind(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    def encode_queries(self, texts: list[str]) -> Packed: ...


class DocumentEncoder(QueryEncoder, Protocol):
    """What an index needs of an encoder; `load_encoder` gives one. See `encoders.Encoder`."""

    def stream_documents(self, texts: Iterable[str]) -> Iterator[Packed]: ...


def in_step(
    passages: Iterable[Passage], encoders: Mapping[str, DocumentEncoder]
) -> Iterator[tuple[list[Passage], dict[str, Packed]]]:
    """Passages in parts, in order, with the vectors of each encoder (at least one) for them.

    Encoders cut their streams where they like; a part ends wherever one of them does. No more is
    held than the chunk on which each encoder works.
    """
    own, *copies = tee(passages, 1 + len(encoders))
    streams = {
        name: encoder.stream_documents(passage.content for passage in copy)
        for (name, encoder), copy in zip(encoders.items(), copies, strict=True)
    }
    waiting: dict[str, Packed] = {}
    while True:
        for name, stream in streams.items():
            while name not in waiting or len(waiting[name]) == 0:
                chunk = next(stream, None)
                if chunk is None:
                    return
                waiting[name] = chunk
        count = min(map(len, waiting.values()))
        yield (
            list(islice(own, count)),
            {name: _cut(vectors, 0, count) for name, vectors in waiting.items()},
        )
        waiting = {name: _cut(vectors, count, len(vectors)) for name, vectors in waiting.items()}


def _cut(vectors: Packed, first: int, last: int) -> Packed:
    """Sequences first..last - 1, a view."""
    offsets = vectors.offsets[first : last + 1]
    return Packed(vectors.values[offsets[0] : offsets[-1]], offsets - offsets[0])
