"""Fusion: one ranking out of the rankings of several legs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from ..types import Ranking

LEXICAL_WEIGHT = 0.3  # of BM25; the vector legs share the rest (benchmarks/quality/ranking.py)
LEG_DEPTH = 100  # the least number of passages that each leg contributes to fusion
RRF_CONSTANT = 60


def fuse_legs(legs: Mapping[str, Ranking], k: int, only: str | None = None) -> Ranking:
    """Fuse the rankings of an index's legs, by name, into the k best.

    only: count the contribution of this leg alone, which explains a score.
    """
    if len(legs) == 1:
        return next(iter(legs.values()))[:k]
    lexical = LEXICAL_WEIGHT if "lexical" in legs else 0.0
    vectors = (1 - lexical) / sum(name != "lexical" for name in legs)
    weights = {name: lexical if name == "lexical" else vectors for name in legs}
    if only is not None:
        weights = {name: weight if name == only else 0.0 for name, weight in weights.items()}
    return fuse(list(legs.values()), k, list(weights.values()))


def fuse(
    legs: Sequence[Ranking],
    k: int,
    weights: Sequence[float] | None = None,
    method: str = "zscore",
) -> Ranking:
    """Fuse several rankings into the k best; equal scores are ordered by id.

    Args:
        legs: Rankings of (id, score), each best first.
        k: Number of results.
        weights: One per leg; equal where None.
        method: How scores of different legs are made comparable. An id that a leg did not return
            gets 0 from it.

            - "zscore": standard deviations above the leg's last score. A leg that returned fewer
              ids than another has no further match at all; those count as scores of 0. Chosen by
              `benchmarks/quality/ranking.py`.
            - "rrf": reciprocal rank fusion, 1 / (60 + rank) (Cormack et al. 2009).
            - "minmax": scores scaled to 0..1 (convex combination, Bruch et al. 2023).

    Returns:
        The weighted sums, best first.

    Raises:
        ValueError: There are not as many weights as legs.
    """
    if weights is None:
        weights = [1.0] * len(legs)
    if len(weights) != len(legs):
        raise ValueError(f"{len(legs)} legs need as many weights, got {len(weights)}")
    longest = max(map(len, legs), default=0)
    methods: dict[str, Callable[[Ranking], list[float]]] = {
        "zscore": partial(_standard_scores, longest),
        "rrf": _reciprocal_ranks,
        "minmax": _scaled,
    }
    normalise = methods[method]
    total: dict[str, float] = {}
    for leg, weight in zip(legs, weights, strict=True):
        for (id, _), score in zip(leg, normalise(leg), strict=True):
            total[id] = total.get(id, 0.0) + weight * score
    return sorted(total.items(), key=lambda item: (-item[1], item[0]))[:k]


def _reciprocal_ranks(leg: Ranking) -> list[float]:
    return [1.0 / (RRF_CONSTANT + rank) for rank in range(1, len(leg) + 1)]


def _scaled(leg: Ranking) -> list[float]:
    scores = [score for _, score in leg]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


def _standard_scores(longest: int, leg: Ranking) -> list[float]:
    """Standard deviations above the lowest of `longest` scores, where missing ones count as 0.

    All are 1 where all scores are the same.
    """
    scores = [score for _, score in leg]
    missing = longest - len(scores)
    low = min([*scores, *([0.0] if missing else [])], default=0.0)
    count = len(scores) + missing
    mean = sum(scores) / max(count, 1)
    squares = sum((score - mean) ** 2 for score in scores) + missing * mean**2
    deviation = (squares / max(count, 1)) ** 0.5
    return [(score - low) / deviation if deviation else 1.0 for score in scores]
