"""Search a FAISS index under a filter: scan the allowed vectors, or walk the graph or lists."""

from __future__ import annotations

from typing import Any

import numpy as np

from .engine import Scored, Tuning, top_k
from .faiss_factory import innermost, is_graph, load_faiss

EF_SEARCH = 96  # default number of candidates while walking a graph
LISTS_PER_PROBE = 32  # by default one of so many inverted lists is searched, but at least
LEAST_PROBES = 16
RESCORED = 200  # default number of candidates to rescore
ROWS_PER_CANDIDATE = 50  # rows scanned in the time in which a walk handles one more candidate
SCAN_ROWS = 65_536


def search(
    index: Any, queries: np.ndarray, live: np.ndarray, k: int, tuning: Tuning
) -> list[Scored]:
    """Return the k best live rows per query; see `engine.SearchableVectors.search`.

    Args:
        index: A FAISS index that passes `faiss_factory.check_searchable`.
        queries: (B, D) float32.
        live: (P,) bool, the rows to search.
        k: At least 1.
        tuning: How thoroughly to search.
    """
    allowed = int(live.sum())
    count = min(k, allowed)
    if count == 0:
        return [(np.zeros(0, np.int64), np.zeros(0, np.float32))] * len(queries)
    leaf = innermost(index)
    if is_graph(leaf):
        # only this fraction of a graph's candidates is allowed, so it must walk 1 / fraction as far
        fraction = allowed / len(live)
        candidates = max(tuning.candidates or EF_SEARCH, count)
        if allowed * fraction <= ROWS_PER_CANDIDATE * candidates:
            return _scan(index, queries, live, count)
    scores, rows = index.search(
        queries, count, params=_parameters(index, _selector(live), live, count, tuning)
    )
    results = list(zip(rows, scores, strict=True))
    short = np.flatnonzero((rows < 0).any(axis=1))  # a walk or probe reached fewer than count
    if short.size:
        scanned = _scan(index, queries[short], live, count)
        for row, result in zip(short.tolist(), scanned, strict=True):
            results[row] = result
    return results


def _parameters(index: Any, selector: Any, live: np.ndarray, count: int, tuning: Tuning) -> Any:
    """Return FAISS's parameters for finding `count` of the (P,) live rows. selector: of these rows,
    or None."""
    faiss = load_faiss()

    index = faiss.downcast_index(index)
    fraction = float(live.mean())
    if isinstance(index, faiss.IndexRefine):
        rescored = max(tuning.candidates or RESCORED, count)
        inner = _parameters(index.base_index, selector, live, rescored, tuning)
        return faiss.IndexRefineSearchParameters(
            k_factor=max(1.0, rescored / count), base_index_params=inner
        )
    if isinstance(index, faiss.IndexPreTransform):
        inner = _parameters(index.index, selector, live, count, tuning)
        return faiss.SearchParametersPreTransform(index_params=inner)
    chosen: dict[str, Any] = {} if selector is None else {"sel": selector}
    if is_graph(index):
        candidates = max(tuning.candidates or EF_SEARCH, count) / fraction
        return faiss.SearchParametersHNSW(efSearch=int(min(candidates, len(live))), **chosen)
    if isinstance(index, faiss.IndexIVF):
        probes = tuning.nprobe or max(LEAST_PROBES, index.nlist // LISTS_PER_PROBE)
        enough = 4 * count * index.nlist / max(1, len(live))
        lists = int(min(index.nlist, max(probes, enough) / fraction))
        return faiss.SearchParametersIVF(nprobe=max(1, lists), **chosen)
    return faiss.SearchParameters(**chosen)


def _selector(live: np.ndarray) -> Any:
    """Return FAISS's selector of the live rows; None if all are."""
    faiss = load_faiss()

    if live.all():
        return None
    return faiss.IDSelectorBitmap(np.packbits(live, bitorder="little"))


def _scan(index: Any, queries: np.ndarray, live: np.ndarray, count: int) -> list[Scored]:
    """Return the best `count` of all live rows: search all lists, or all rows of a graph's
    storage."""
    faiss = load_faiss()

    leaf = innermost(index)
    if is_graph(index) and not isinstance(faiss.downcast_index(index.storage), faiss.IndexPQ):
        index = leaf = faiss.downcast_index(index.storage)
    if not is_graph(leaf):
        tuning = Tuning(nprobe=getattr(leaf, "nlist", 1), candidates=len(live))
        scores, rows = index.search(
            queries, count, params=_parameters(index, _selector(live), live, count, tuning)
        )
        return list(zip(rows, scores, strict=True))
    rows = np.flatnonzero(live)
    scores = np.empty((len(queries), len(rows)), np.float32)
    for first in range(0, len(rows), SCAN_ROWS):
        block = rows[first : first + SCAN_ROWS]
        scores[:, first : first + len(block)] = queries @ index.reconstruct_batch(block).T
    tops = [top_k(each, count) for each in scores]
    return [(rows[top], each[top]) for top, each in zip(tops, scores, strict=True)]
