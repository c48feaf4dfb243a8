"""Token vectors in clusters, as an encoder makes them, for the tests of the multi-vector engine."""

from __future__ import annotations

import numpy as np

from mbert_retrieval import Packed


def clustered(rng, count: int, dimension: int, words: int = 40, noise: float = 0.3) -> np.ndarray:
    """(count, dimension) float32 unit vectors around `words` directions, the same ones each time,
    as token vectors are."""
    centres = np.random.default_rng(words).standard_normal((words, dimension))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = centres[rng.integers(0, words, count)]
    vectors = vectors + noise / dimension**0.5 * rng.standard_normal((count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def collection(rng, passages: int, dimension: int, longest: int = 12, words: int = 40) -> Packed:
    lengths = rng.integers(1, longest + 1, passages)
    vectors = clustered(rng, int(lengths.sum()), dimension, words)
    return Packed(vectors, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
