"""Token vectors for `plaid.py`: made ones, like those of a late-interaction encoder, and true ones.

A made passage belongs to a topic, one of a 25th as many as there are passages. Its vectors (mean
120, lognormal) are words, 60 % of them from the topic's own 150, the rest from 16,384 of Zipf-like
popularity, each moved by the topic, by the passage and by noise, and scaled to unit length. So
there are clusters of several levels, passages that resemble one another because they treat the same
topic, and about as much variance around k-means centroids as `nano` has on code. A query is 32
vectors of one passage with noise.

All is seeded by blocks of passages, so that a collection larger than memory can be made twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mbert_retrieval import Packed
from mbert_retrieval.packed import offsets_from_lengths

DIMENSION, QUERY_VECTORS, BLOCK = 128, 32, 1000
WORDS, OWN_WORDS, PASSAGES_A_TOPIC = 16_384, 150, 25


@dataclass(frozen=True)
class Made:
    """passages: how many; iterating `blocks` gives them, `queries` is known beforehand."""

    passages: int
    count: int = 200

    def blocks(self) -> Iterator[Packed]:
        rng = np.random.default_rng(0)
        words = rng.standard_normal((WORDS, DIMENSION), dtype=np.float32)
        words /= np.linalg.norm(words, axis=1, keepdims=True)
        popularity = np.cumsum(np.arange(1, WORDS + 1) ** -0.8)
        popularity /= popularity[-1]
        topics = max(64, self.passages // PASSAGES_A_TOPIC)
        shifts = rng.standard_normal((topics, DIMENSION), dtype=np.float32) / DIMENSION**0.5
        own = np.searchsorted(popularity, rng.random((topics, OWN_WORDS))).clip(max=WORDS - 1)
        for first in range(0, self.passages, BLOCK):
            rng = np.random.default_rng((1, first))
            count = min(BLOCK, self.passages - first)
            lengths = rng.lognormal(np.log(120) - 0.125, 0.5, count).clip(8, 512).astype(np.int64)
            total, passage = int(lengths.sum()), np.repeat(np.arange(count), lengths)
            topic = rng.integers(0, topics, count)
            word = np.searchsorted(popularity, rng.random(total)).clip(max=WORDS - 1)
            chosen = own[topic[passage], rng.integers(0, OWN_WORDS, total)]
            word = np.where(rng.random(total) < 0.6, chosen, word)
            vectors = words[word]
            vectors += 0.45 * shifts[topic][passage]
            vectors += 0.25 * _noise(rng, count)[passage]
            vectors += 0.45 * _noise(rng, total)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            yield Packed(vectors, offsets_from_lengths(lengths))

    def all(self) -> tuple[Packed, Packed]:
        """Passages and queries, in memory."""
        passages = Packed.concatenate(list(self.blocks()))
        return passages, self.queries_of(passages, np.arange(self.passages))

    def queries_of(self, passages: Packed, numbers: np.ndarray) -> Packed:
        """The queries made of those of `passages`, which have these numbers."""
        rng = np.random.default_rng(2)
        positions = {number: position for position, number in enumerate(numbers.tolist())}
        queries = []
        for source in rng.integers(0, self.passages, self.count).tolist():
            noise = np.random.default_rng((3, source))
            if source in positions:
                vectors = passages[positions[source]]
                query = vectors[noise.integers(0, len(vectors), QUERY_VECTORS)]
                query = query + 0.6 * _noise(noise, QUERY_VECTORS)
                queries.append(query / np.linalg.norm(query, axis=1, keepdims=True))
        return Packed.from_sequences(queries, np.float32)


def _noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, DIMENSION) float32 of about unit length."""
    return rng.standard_normal((count, DIMENSION), dtype=np.float32) / DIMENSION**0.5


def cosqa(data: Path, count: int = 200) -> tuple[Packed, Packed]:
    """What `nano` makes of the CoSQA passages and of the first `count` queries."""
    from mbert_retrieval import load_encoder

    encoder = load_encoder("nano")
    texts = {}
    for name in ("corpus", "queries"):
        lines = (data / "cosqa" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        texts[name] = [json.loads(line)["text"] for line in lines]
    passages = encoder.encode_documents(texts["corpus"])
    return passages, encoder.encode_queries(texts["queries"][:count])
