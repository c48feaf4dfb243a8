"""An encoder whose vectors a test can compute by itself, and the scores that fusion should give."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import numpy as np

from mbert_retrieval import Packed, Passage

DIMENSION = 64


class HashEncoder:
    """Words to fixed random vectors: one a word (late) or their sum (dense). Counts its work."""

    def __init__(self, kind: str = "late", name: str = "hash", chunk: int = 7) -> None:
        self.kind, self.name, self.chunk = kind, name, chunk
        self.dimension = DIMENSION
        self.fingerprint = hashlib.sha256(f"{name} {kind}".encode()).hexdigest()
        self.encoded: list[str] = []

    def encode_queries(self, texts: list[str]) -> Packed:
        return Packed.from_sequences([self.vectors(text) for text in texts])

    def stream_documents(self, texts):
        chunk: list[str] = []
        for text in texts:
            chunk.append(text)
            if len(chunk) == self.chunk:
                yield self._documents(chunk)
                chunk = []
        if chunk:
            yield self._documents(chunk)

    def _documents(self, texts: list[str]) -> Packed:
        self.encoded += texts
        return self.encode_queries(texts)

    def vectors(self, text: str) -> np.ndarray:
        """(words or 1, DIMENSION) float32, unit norm."""
        rows = np.stack([_word_vector(word) for word in re.findall(r"\w+", text.lower()) or [""]])
        if self.kind == "dense":
            rows = rows.sum(axis=0, keepdims=True)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _word_vector(word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(DIMENSION)


def standard_scores(legs: list[tuple[float, list[tuple[str, float]]]]) -> dict[str, float]:
    """Weighted standard deviations above a leg's last, by numpy; a leg that is shorter than another
    goes on with zeros."""
    total: Counter[str] = Counter()
    longest = max(len(leg) for _, leg in legs)
    for weight, leg in legs:
        scores = np.array([score for _, score in leg] + [0.0] * (longest - len(leg)))
        for (id, _), part in zip(leg, (scores - scores.min()) / scores.std(), strict=False):
            total[id] += weight * part
    return total


WORDS = ["retry", "http", "header", "parse", "file", "socket", "token", "cache", "merge", "lock"]


def make_passages(count: int, salt: int = 0) -> list[Passage]:
    random = np.random.default_rng(salt)
    return [
        Passage(
            id=f"doc {n}",
            text=" ".join(random.choice(WORDS, size=5)) + f" number{n}",
            title=f"title {n % 3}",
            metadata={"group": n % 3},
        )
        for n in range(count)
    ]
