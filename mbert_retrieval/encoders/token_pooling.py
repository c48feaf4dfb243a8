"""Token pooling: fewer vectors per document, by clustering them and taking the clusters' means."""

from __future__ import annotations

import numpy as np

from ..packed import Packed


def pool_tokens(documents: Packed, factor: float) -> Packed:
    """Reduce each document to about 1 / factor of its vectors (Clavie, Chaffin and Adams 2024).

    Ward clustering on cosine distance over all vectors but the first ([CLS]), which stays as it is;
    each cluster is replaced by its mean, scaled to unit norm.

    Args:
        documents: Vectors of unit norm, float32 (N, D).
        factor: Vectors per cluster, at least 1.

    Returns:
        The pooled vectors, one sequence per document.

    Raises:
        ValueError: For a factor below 1.
    """
    if factor < 1:
        raise ValueError(f"the pooling factor must be at least 1, it is {factor}")
    if factor == 1:
        return documents
    return Packed.from_sequences([_pool_one(vectors, factor) for vectors in documents])


def _pool_one(vectors: np.ndarray, factor: float) -> np.ndarray:
    """Pool one document: (t, D) to (1 + about (t - 1) / factor, D)."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    first, rest = vectors[:1], vectors[1:]
    clusters = max(int(len(rest) // factor), 1)
    if clusters >= len(rest):
        return vectors
    distance = (1 - rest @ rest.T).clip(0, 2)
    tree = linkage(squareform(distance, checks=False), method="ward")
    labels = fcluster(tree, t=clusters, criterion="maxclust")
    _, labels = np.unique(labels, return_inverse=True)
    sums = np.zeros((labels.max() + 1, vectors.shape[1]), dtype=np.float32)
    np.add.at(sums, labels, rest)
    means = sums / np.bincount(labels)[:, None]
    means /= np.linalg.norm(means, axis=1, keepdims=True).clip(1e-12)
    return np.concatenate((first, means.astype(np.float32)))
