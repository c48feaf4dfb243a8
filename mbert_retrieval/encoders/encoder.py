"""The encoder: texts in, packed vectors out, in batches of a token budget."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..backbone import ModernBert
from ..errors import InputError
from ..packed import Packed, offsets_from_lengths, positions
from .heads import DenseHead, LateHead, TokenBatch
from .token_pooling import pool_tokens
from .tokens import TextTokenizer

TOKEN_BUDGET = 16_384  # tokens of one forward pass
CHUNK_TEXTS, CHUNK_CHARACTERS = 512, 500_000  # texts held at once while streaming


@dataclass(frozen=True)
class Expansion:
    """ColBERT's query expansion: [MASK] tokens that fill a query up to `length`.

    attend: whether other tokens may attend to them. cut: whether longer queries are cut at `length`
    (sentence-transformers calls that strategy "fixed", and "min" where they are not).
    """

    length: int
    token_id: int
    attend: bool = False
    cut: bool = True


@dataclass(frozen=True)
class Side:
    """How the texts of one side become ids. limit: tokens in all, special ones included."""

    prompt: str = ""
    limit: int = 8192
    expansion: Expansion | None = None


class Encoder:
    """A backbone with one head. Satisfies the same calls whether it gives one vector or many.

    name: what the user called it ("nano", a folder, a hub name).
    pool_factor: token pooling of documents, late interaction only; 1 keeps every vector.
    """

    def __init__(
        self,
        backbone: ModernBert,
        tokenizer: TextTokenizer,
        head: DenseHead | LateHead,
        query: Side,
        document: Side,
        name: str = "",
        pool_factor: float = 1.0,
    ) -> None:
        if pool_factor != 1 and head.kind == "dense":
            raise InputError("token pooling needs a late-interaction encoder")
        self.backbone, self.tokenizer, self.head = backbone.eval(), tokenizer, head.eval()
        self.query, self.document = query, document
        self.name = name
        self.pool_factor = pool_factor
        if head.kind == "late":
            for side in (query, document):
                tokenizer.keep_whole(side.prompt)
        # tokens of [CLS] and the prompt; 0 where there is no prompt
        self._query_prompt, self._document_prompt = (
            len(tokenizer.pieces(side.prompt)) + 1 if side.prompt else 0
            for side in (query, document)
        )

    @property
    def kind(self) -> str:
        """ "dense" or "late"."""
        return self.head.kind

    @property
    def dimension(self) -> int:
        return self.head.dimension

    @property
    def device(self) -> torch.device:
        return self.backbone.embeddings.tok_embeddings.weight.device

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of everything that decides the vectors: weights, tokenizer, lengths, prompts."""
        settings = {
            "kind": self.kind,
            "query": asdict(self.query),
            "document": asdict(self.document),
            "pool_factor": self.pool_factor,
            "config": asdict(self.backbone.config),
            "dimension": self.dimension,
            "skiplist": list(getattr(self.head, "skiplist", ())),
            "poolings": list(getattr(self.head, "poolings", ())),
        }
        self.tokenizer.backend.no_truncation()
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        digest.update(self.tokenizer.backend.to_str().encode())
        for module in (self.backbone, self.head):
            for name, tensor in sorted(module.state_dict().items()):
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
        return digest.hexdigest()

    def encode_queries(self, texts: list[str]) -> Packed:
        """Vectors of queries: Packed float32 (N, dimension), one sequence a text."""
        return self._concatenate(self._stream(texts, self.query))

    def encode_documents(self, texts: list[str]) -> Packed:
        """Vectors of documents: Packed float32 (N, dimension), one sequence a text."""
        return self._concatenate(self._stream(texts, self.document))

    def stream_documents(self, texts: Iterable[str]) -> Iterator[Packed]:
        """Vectors of any number of documents, a chunk at a time and in order; memory stays flat."""
        return self._stream(texts, self.document)

    def set_lengths(self, query: int | None = None, document: int | None = None) -> None:
        """Read so many tokens of a query or of a document, special tokens included.

        Raises InputError for fewer than 4 or for more than the network's positions.
        """
        longest = self.backbone.config.max_position_embeddings
        for length in (query, document):
            if length is not None and not 4 <= length <= longest:
                raise InputError(f"lengths go from 4 to {longest} tokens, not {length}")
        if query is not None:
            expansion = self.query.expansion
            expansion = expansion and replace(expansion, length=query)
            self.query = replace(self.query, limit=query, expansion=expansion)
        if document is not None:
            self.document = replace(self.document, limit=document)

    def save(self, folder: str | Path) -> None:
        """Write the portable folder that sentence-transformers and PyLate load."""
        from .portable import write_encoder

        write_encoder(self, Path(folder))

    def _concatenate(self, chunks: Iterator[Packed]) -> Packed:
        parts = list(chunks)
        if not parts:
            return Packed(np.zeros((0, self.dimension), np.float32), np.zeros(1, np.int64))
        return Packed.concatenate(parts)

    def _stream(self, texts: Iterable[str], side: Side) -> Iterator[Packed]:
        for chunk in chunked(texts):
            vectors = self._encode(*self.token_ids(chunk, side), side)
            if self.pool_factor != 1 and side is self.document:
                vectors = pool_tokens(vectors, self.pool_factor)
            yield vectors

    def token_ids(self, texts: list[str], side: Side) -> tuple[Packed, np.ndarray]:
        """The ids that the backbone reads (prompt, special tokens and expansion included), and the
        number of them, (B,) int64, that come before each text's expansion."""
        for text in texts:
            if not isinstance(text, str):
                raise InputError(f"texts must be strings, one is {type(text).__name__}")
        expansion = side.expansion
        limit = side.limit
        if expansion:
            limit = expansion.length if expansion.cut else max(limit, expansion.length)
        ids = self.tokenizer.encode([side.prompt + text for text in texts], limit)
        if expansion is None:
            return ids, ids.lengths
        lengths = np.maximum(ids.lengths, expansion.length)
        filled = np.full(lengths.sum(), expansion.token_id, dtype=np.int64)
        offsets = offsets_from_lengths(lengths)
        filled[positions(offsets[:-1], ids.lengths)] = ids.values
        return Packed(filled, offsets), ids.lengths

    def _encode(self, ids: Packed, content: np.ndarray, side: Side) -> Packed:
        """Packed ids to packed vectors, longest first, `TOKEN_BUDGET` tokens at a time."""
        order = np.argsort(-ids.lengths, kind="stable")
        parts: list[Packed] = []
        for batch in token_batches(ids.lengths[order], TOKEN_BUDGET):
            rows = order[batch]
            parts.append(self._forward(ids.select(rows), content[rows], side))
        vectors = Packed.concatenate(parts)
        return vectors.select(np.argsort(order, kind="stable"))

    @torch.inference_mode()
    def _forward(self, ids: Packed, content: np.ndarray, side: Side) -> Packed:
        device = self.device
        values = torch.from_numpy(ids.values).to(device)
        cu_seqlens = torch.from_numpy(ids.offsets).to(device)
        attended: Tensor | None = None
        if side.expansion and not side.expansion.attend:
            place = positions(np.zeros(len(ids), dtype=np.int64), ids.lengths)
            attended = torch.from_numpy(place < np.repeat(content, ids.lengths)).to(device)
        hidden = self.backbone(values, cu_seqlens, attended).float()
        is_query = side is self.query
        prompt = self._query_prompt if is_query else self._document_prompt
        batch = TokenBatch(values, cu_seqlens, prompt, is_query)
        vectors, offsets = self.head(hidden, batch)
        return Packed(vectors.float().cpu().numpy(), offsets.cpu().numpy().astype(np.int64))


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
