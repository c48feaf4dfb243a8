"""A query's way: legs of the mode, query vectors, rankings of each leg, fusion, ranking rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..errors import InputError
from ..indexes.folder import IndexFolder
from ..packed import Packed
from ..types import Ranking
from .encoders import IndexEncoders
from .fusion import LEG_DEPTH, fuse_legs
from .options import SearchOptions
from .ranked import LEXICAL
from .ranking import definitions_first
from .result import SearchResult


def legs_of(folder: IndexFolder) -> list[str]:
    """Return the names of an index's legs: "late", "dense" and "lexical", or some of them."""
    return [*folder.legs, *([LEXICAL] if folder.lexical else [])]


def legs_for(folder: IndexFolder, mode: str) -> list[str]:
    """Return the legs that answer in a mode. Raise InputError where the index lacks them."""
    legs = legs_of(folder)
    wanted = {"hybrid": legs, "vector": list(folder.legs)}.get(mode, [mode])
    if not wanted or any(name not in legs for name in wanted):
        missing = {LEXICAL: "lexical part", "vector": "vectors"}.get(mode, f"{mode} vectors")
        others = [name for name in legs if name != mode]
        raise InputError(
            f"the index {folder.path} has no {missing}: use mode {' or '.join(others)}"
        )
    return wanted


def search(
    folder: IndexFolder, encoders: IndexEncoders, texts: Sequence[str], options: SearchOptions
) -> list[SearchResult]:
    """Search for each text in one commit of the index; all texts are encoded together."""
    folder = folder.pinned()
    legs = legs_for(folder, options.mode)
    vectors = {
        leg: encoders.query_encoder(leg).encode_queries(list(texts))
        for leg in legs
        if leg != LEXICAL
    }
    if not options.group:
        return _search_legs(folder, encoders, texts, vectors, legs, options)
    results = []
    for number, text in enumerate(texts):
        own = {leg: packed.select([number]) for leg, packed in vectors.items()}
        results.append(_search_grouped(folder, encoders, text, own, legs, options))
    return results


def _search_legs(
    folder: IndexFolder,
    encoders: IndexEncoders,
    texts: Sequence[str],
    vectors: Mapping[str, Packed],
    legs: Sequence[str],
    options: SearchOptions,
) -> list[SearchResult]:
    """Search each leg and combine their rankings. vectors: per leg, one sequence per text."""
    depth = options.k if len(legs) == 1 else max(options.k, LEG_DEPTH)
    by_leg: dict[str, list[Ranking]] = {}
    for leg in legs:
        if leg == LEXICAL:
            by_leg[leg] = folder.search_lexical(texts, depth, options.where)
        else:
            by_leg[leg] = folder.search_vectors(
                vectors[leg], depth, options.where, leg, options.tuning
            )
    results = []
    for number, text in enumerate(texts):
        rankings = {leg: by_leg[leg][number] for leg in legs}
        fused = fuse_legs(rankings, depth)
        result = SearchResult(
            text,
            options,
            rankings,
            {leg: packed[number] for leg, packed in vectors.items()},
            fused,
            fused[: options.k],
            folder,
            encoders,
        )
        if result.has_ranking_rules:
            ranking = definitions_first(text, fused, result.passages)
            result = replace(result, ranking=ranking[: options.k])
        results.append(result)
    return results


def _search_grouped(
    folder: IndexFolder,
    encoders: IndexEncoders,
    text: str,
    vectors: Mapping[str, Packed],
    legs: Sequence[str],
    options: SearchOptions,
) -> SearchResult:
    """Return the best passage of each document, looking deeper until there are k documents."""
    depth = options.k
    while True:
        depth *= 4
        deeper = replace(options, k=depth)
        (result,) = _search_legs(folder, encoders, [text], vectors, legs, deeper)
        best: dict[str, tuple[str, float]] = {}
        passages = result.passages([id for id, _ in result.ranking])
        for passage, scored in zip(passages, result.ranking, strict=True):
            best.setdefault(passage.document, scored)
        if len(best) >= options.k or len(result.ranking) < depth:
            return replace(result, options=options, ranking=list(best.values())[: options.k])
