"""FAISS indexes by the names of its index factory: choose one, make it, check it, look inside."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError

EXACT_BELOW, GRAPH_BELOW = 20_000, 1_000_000
EF_CONSTRUCTION = 200


def load_faiss() -> Any:
    """Import FAISS when it is first needed. Untyped: its stubs describe the C++ signatures."""
    import faiss

    return faiss


def factory_for(rows: int, dimension: int) -> str:
    """Return the factory string for a segment of so many vectors; "" for exact search of the
    uncompressed vectors."""
    if rows < EXACT_BELOW:
        return ""
    if rows < GRAPH_BELOW:
        return "HNSW32,SQfp16"
    lists = 2 ** round(np.log2(4 * np.sqrt(rows)))
    return f"IVF{lists},SQ8"


def new_index(dimension: int, factory: str) -> Any:
    """Return an empty FAISS index of inner products. Raises InputError for an unknown factory."""
    faiss = load_faiss()

    try:
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, TypeError):
        raise InputError(
            f"FAISS has no index {factory!r} for {dimension} dimensions: use a factory string of "
            "the FAISS documentation, or let the size of the index decide"
        ) from None
    inner = innermost(index)
    if is_graph(inner):
        inner.hnsw.efConstruction = EF_CONSTRUCTION
    return index


def check_searchable(index: Any, factory: str) -> None:
    """Raise InputError if the index cannot be searched under a filter, or changes inner
    products."""
    faiss = load_faiss()

    supported = (
        faiss.IndexFlat,
        faiss.IndexScalarQuantizer,
        faiss.IndexHNSW,
        faiss.IndexIVFFlat,
        faiss.IndexIVFScalarQuantizer,
        faiss.IndexIVFPQ,
        faiss.IndexIVFRaBitQ,
    )
    if not isinstance(innermost(index), supported):
        raise InputError(
            f"FAISS cannot search {factory!r} under a filter: use Flat, SQ, HNSW, or IVF with "
            "Flat, SQ, PQ or RaBitQ, optionally after OPQ and before Refine"
        )
    if not _preserves_products(index):
        raise InputError(
            f"{factory!r} changes inner products: of FAISS's transforms only OPQ and RR do not"
        )


def innermost(index: Any) -> Any:
    """Return the index behind transforms of its vectors and rescoring of its results."""
    faiss = load_faiss()

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexRefine):
        return innermost(index.base_index)
    return innermost(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def is_graph(index: Any) -> bool:
    """Return whether the index is a graph (HNSW)."""
    faiss = load_faiss()

    return isinstance(index, faiss.IndexHNSW)


def _preserves_products(index: Any) -> bool:
    """Return whether vectors are at most rotated; PCA, for example, shifts them as well."""
    faiss = load_faiss()

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexRefine):
        return _preserves_products(index.base_index)
    if not isinstance(index, faiss.IndexPreTransform):
        return True
    steps = map(faiss.downcast_VectorTransform, map(index.chain.at, range(index.chain.size())))
    rotations = (faiss.OPQMatrix, faiss.RandomRotationMatrix)
    return all(isinstance(step, rotations) for step in steps) and _preserves_products(index.index)
