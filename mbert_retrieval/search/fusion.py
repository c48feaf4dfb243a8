"""One ranking out of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..types import Ranking

RRF_CONSTANT = 60


def fuse(
    legs: Sequence[Ranking],
    k: int,
    weights: Sequence[float] | None = None,
    method: str = "zscore",
) -> Ranking:
    """The k best of several rankings of (id, score), each best first; equal scores by id.

    weights: one a leg, equal when None.
    method: "zscore", scores of a leg in standard deviations above its last, weighted, summed; an id
        that a leg did not return gets 0 there. A leg that returned fewer than another found no more
        that match at all; those count as scores of 0. Chosen by `benchmarks/ranking.py`.
        "rrf", reciprocal rank fusion (Cormack et al. 2009): weight / (60 + rank), summed.
        "minmax", convex combination (Bruch et al. 2023): scores of a leg scaled to 0..1, weighted,
        summed; an id that a leg did not return gets 0 there.
    """
    if weights is None:
        weights = [1.0] * len(legs)
    if len(weights) != len(legs):
        raise ValueError(f"{len(legs)} legs need as many weights, got {len(weights)}")
    longest = max(map(len, legs), default=0)
    methods: dict[str, Callable[[Ranking], list[float]]] = {
        "zscore": partial(_deviations, longest),
        "rrf": _reciprocal_ranks,
        "minmax": _scaled,
    }
    parts = methods[method]
    total: dict[str, float] = {}
    for leg, weight in zip(legs, weights, strict=True):
        for (id, _), part in zip(leg, parts(leg), strict=True):
            total[id] = total.get(id, 0.0) + weight * part
    return sorted(total.items(), key=lambda item: (-item[1], item[0]))[:k]


def _reciprocal_ranks(leg: Ranking) -> list[float]:
    return [1.0 / (RRF_CONSTANT + rank) for rank in range(1, len(leg) + 1)]


def _scaled(leg: Ranking) -> list[float]:
    scores = [score for _, score in leg]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


def _deviations(longest: int, leg: Ranking) -> list[float]:
    """In standard deviations above the last, of `longest` scores, those that are missing being 0;
    1 where all are the same."""
    scores = [score for _, score in leg]
    missing = longest - len(scores)
    low = min([*scores, *([0.0] if missing else [])], default=0.0)
    count = len(scores) + missing
    mean = sum(scores) / max(count, 1)
    squares = sum((score - mean) ** 2 for score in scores) + missing * mean**2
    deviation = (squares / max(count, 1)) ** 0.5
    return [(score - low) / deviation if deviation else 1.0 for score in scores]
