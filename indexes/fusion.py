"""One ranking out of several."""

from __future__ import annotations

from collections.abc import Sequence

Ranking = list[tuple[str, float]]
RRF_CONSTANT = 60


def fuse(
    legs: Sequence[Ranking],
    k: int,
    weights: Sequence[float] | None = None,
    method: str = "rrf",
) -> Ranking:
    """The k best of several rankings of (id, score), each best first; equal scores by id.

    weights: one a leg, equal when None.
    method: "rrf", reciprocal rank fusion (Cormack et al. 2009): weight / (60 + rank), summed.
        "minmax", convex combination (Bruch et al. 2023): scores of a leg scaled to 0..1, weighted,
        summed; an id that a leg did not return gets 0 there.
    """
    if weights is None:
        weights = [1.0] * len(legs)
    if len(weights) != len(legs):
        raise ValueError(f"{len(legs)} legs need as many weights, got {len(weights)}")
    parts = {"rrf": _reciprocal_ranks, "minmax": _scaled}[method]
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
