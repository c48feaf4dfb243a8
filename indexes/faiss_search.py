"""Search of a FAISS index under a filter: what to scan, what to walk, and how far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from .ranking import best

EF_SEARCH = 96  # candidates that a search of a graph keeps, unless told
PROBED_SHARE = 32  # one list of so many is probed, unless told; and at least
LEAST_PROBED = 16
REFINED = 200  # candidates that are scored again, unless told
VISITS = 50  # rows scanned in the time in which a graph's search gets one candidate further
SCAN_ROWS = 65_536

Found = list[tuple[np.ndarray, np.ndarray]]


def load_faiss() -> Any:
    """FAISS, loaded when it is needed; untyped, because its stubs describe the C++ signatures."""
    import faiss

    return faiss


def search(
    index: Any, queries: np.ndarray, live: np.ndarray, k: int, tuning: Mapping[str, int]
) -> Found:
    """As `engine.Engine.search`, of a FAISS index that `check_kind` takes. queries: (B, D)."""
    allowed = int(live.sum())
    count = min(k, allowed)
    if count == 0:
        return [(np.zeros(0, np.int64), np.zeros(0, np.float32))] * len(queries)
    leaf = innermost(index)
    if is_graph(leaf):
        # of a graph's candidates only `share` are allowed, so it must go 1 / share as far
        share = allowed / len(live)
        reach = max(tuning.get("candidates", EF_SEARCH), count)
        if allowed * share <= VISITS * reach:
            return _scan(index, queries, live, count)
    scores, places = index.search(
        queries, count, params=_parameters(index, _selector(live), live, count, tuning)
    )
    found = list(zip(places, scores, strict=True))
    short = np.flatnonzero((places < 0).any(axis=1))  # a walk or a probe met too few
    if short.size:
        whole = _scan(index, queries[short], live, count)
        for row, hits in zip(short.tolist(), whole, strict=True):
            found[row] = hits
    return found


def check_kind(index: Any, factory: str) -> None:
    """Raises InputError for an index that cannot be searched under a filter."""
    faiss = load_faiss()

    known = (
        faiss.IndexFlat,
        faiss.IndexScalarQuantizer,
        faiss.IndexHNSW,
        faiss.IndexIVFFlat,
        faiss.IndexIVFScalarQuantizer,
        faiss.IndexIVFPQ,
        faiss.IndexIVFRaBitQ,
    )
    if not isinstance(innermost(index), known):
        raise InputError(
            f"FAISS cannot search {factory!r} under a filter: use Flat, SQ, HNSW, or IVF with "
            "Flat, SQ, PQ or RaBitQ, perhaps with OPQ before and Refine behind"
        )
    if not _keeps_products(index):
        raise InputError(
            f"{factory!r} changes inner products: of FAISS's transforms only OPQ and RR do not"
        )


def innermost(index: Any) -> Any:
    """The index behind what transforms its vectors or scores its results again."""
    faiss = load_faiss()

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexRefine):
        return innermost(index.base_index)
    return innermost(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def _keeps_products(index: Any) -> bool:
    """Whether vectors are at most rotated; PCA shifts them as well."""
    faiss = load_faiss()

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexRefine):
        return _keeps_products(index.base_index)
    if not isinstance(index, faiss.IndexPreTransform):
        return True
    steps = map(faiss.downcast_VectorTransform, map(index.chain.at, range(index.chain.size())))
    rotations = (faiss.OPQMatrix, faiss.RandomRotationMatrix)
    return all(isinstance(step, rotations) for step in steps) and _keeps_products(index.index)


def is_graph(index: Any) -> bool:
    """Whether it is a graph that is walked (HNSW)."""
    faiss = load_faiss()

    return isinstance(index, faiss.IndexHNSW)


def _parameters(
    index: Any, selector: Any, live: np.ndarray, count: int, tuning: Mapping[str, int]
) -> Any:
    """FAISS's parameters of a search for `count` of the (P,) live; selector: of these, or None."""
    faiss = load_faiss()

    index = faiss.downcast_index(index)
    share = float(live.mean())
    candidates = tuning.get("candidates")
    if isinstance(index, faiss.IndexRefine):
        again = max(candidates or REFINED, count)
        inner = _parameters(index.base_index, selector, live, again, tuning)
        return faiss.IndexRefineSearchParameters(
            k_factor=max(1.0, again / count), base_index_params=inner
        )
    if isinstance(index, faiss.IndexPreTransform):
        inner = _parameters(index.index, selector, live, count, tuning)
        return faiss.SearchParametersPreTransform(index_params=inner)
    chosen: dict[str, Any] = {} if selector is None else {"sel": selector}
    if is_graph(index):
        reach = max(candidates or EF_SEARCH, count) / share
        return faiss.SearchParametersHNSW(efSearch=int(min(reach, len(live))), **chosen)
    if isinstance(index, faiss.IndexIVF):
        probed = tuning.get("nprobe") or max(LEAST_PROBED, index.nlist // PROBED_SHARE)
        enough = 4 * count * index.nlist / max(1, len(live))
        lists = int(min(index.nlist, max(probed, enough) / share))
        return faiss.SearchParametersIVF(nprobe=max(1, lists), **chosen)
    return faiss.SearchParameters(**chosen)


def _selector(live: np.ndarray) -> Any:
    """FAISS's selector of those that are live; None when all are."""
    faiss = load_faiss()

    if live.all():
        return None
    return faiss.IDSelectorBitmap(np.packbits(live, bitorder="little"))


def _scan(index: Any, queries: np.ndarray, live: np.ndarray, count: int) -> Found:
    """The best `count` of all that are live, none left out: through all lists, or what a graph
    connects one by one."""
    faiss = load_faiss()

    leaf = innermost(index)
    if is_graph(index) and not isinstance(faiss.downcast_index(index.storage), faiss.IndexPQ):
        index = leaf = faiss.downcast_index(index.storage)
    if not is_graph(leaf):
        tuning = {"nprobe": getattr(leaf, "nlist", 1), "candidates": len(live)}
        found = index.search(
            queries, count, params=_parameters(index, _selector(live), live, count, tuning)
        )
        return [(places, scores) for scores, places in zip(*found, strict=True)]
    places = np.flatnonzero(live)
    scores = np.empty((len(queries), len(places)), np.float32)
    for first in range(0, len(places), SCAN_ROWS):
        part = places[first : first + SCAN_ROWS]
        scores[:, first : first + len(part)] = queries @ index.reconstruct_batch(part).T
    tops = [best(row, count) for row in scores]
    return [(places[top], row[top]) for top, row in zip(tops, scores, strict=True)]
