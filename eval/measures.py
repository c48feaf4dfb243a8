"""Measures as values (`nDCG@10`, `R@100`, `RR@10`), computed by trec_eval through ir_measures.

Every query of the qrels counts; a query without results scores zero. Ties are broken as in
trec_eval: scores are compared as float32, and documents with equal scores are ranked by id, in
descending order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError
from .datasets import Qrels
from .runs import Run

try:
    from ir_measures import RR, parse_measure
    from ir_measures.measures import Measure
    from ir_measures.providers import registry
    from ir_measures.providers.base import NOT_PROVIDED
except ModuleNotFoundError:
    raise InputError(
        "evaluation needs ir_measures: install it with pip install 'mbert-retrieval[eval]'"
    ) from None

__all__ = ["Measure", "Scores", "check_measures", "cutoff_of", "parse_measures", "score"]

SEPARATOR = re.compile(r"[\s,]+(?![^(]*\))")  # but not inside the brackets of one measure

TREC_EVAL = registry["pytrec_eval"]


@dataclass(frozen=True)
class Scores:
    """The values of a run, by the printed name of each measure.

    Args:
        mean: The mean over all judged queries.
        per_query: The value for each judged query by its id, in the order of the qrels.
    """

    mean: dict[str, float]
    per_query: dict[str, dict[str, float]]


def parse_measures(text: str) -> list[Measure]:
    """Parse the names of measures, as ir_measures writes them (https://ir-measur.es).

    Args:
        text: Names separated by spaces or commas, such as "nDCG@10 R@100 RR@10 AP P(rel=2)@5".

    Returns:
        The measures in the given order, each once.

    Raises:
        InputError: A name is unknown, trec_eval cannot compute it, or there is none.
        TypeError: `text` is not a string.

    Example:
        >>> parse_measures("nDCG@10, R@100 nDCG@10")
        [nDCG@10, R@100]
    """
    if not isinstance(text, str):
        raise TypeError(
            f"measures must be one string, such as 'nDCG@10 R@100', not {type(text).__name__}"
        )
    measures: list[Measure] = []
    for name in filter(None, SEPARATOR.split(text)):
        try:
            measure = parse_measure(name)
            known = TREC_EVAL.supports(_without_rank_cutoff(measure)) and _in_range(measure)
        except (NameError, ValueError, AssertionError):
            known = False
        if not known:
            raise InputError(
                f"unknown measure {name!r}: use names of ir_measures, such as nDCG@10 R@100 RR@10"
            )
        if measure not in measures:
            measures.append(measure)
    if not measures:
        raise InputError("no measures: name one, such as nDCG@10")
    return measures


def check_measures(measures: Sequence[Measure]) -> None:
    """Raise TypeError if these are not measures of `parse_measures`."""
    if isinstance(measures, str) or not all(isinstance(each, Measure) for each in measures):
        raise TypeError(f"measures must come from parse_measures, not be {measures!r}")


def _in_range(measure: Measure) -> bool:
    """Return False for what ir_measures accepts but trec_eval cannot compute."""
    return cutoff_of(measure) != 0 and measure.params.get("rel", 1) >= 1


def cutoff_of(measure: Measure) -> int | None:
    """Return the cutoff of a measure, such as 10 for nDCG@10; None if it has none.

    Args:
        measure: A measure of `parse_measures`.

    Returns:
        The number of results that the measure looks at, or None for all.
    """
    cutoff = measure.params.get("cutoff", NOT_PROVIDED)
    return None if cutoff is NOT_PROVIDED else cutoff


def score(measures: Sequence[Measure], qrels: Qrels, run: Run) -> Scores:
    """Compute measures of a run. Queries that are not judged are ignored, as in trec_eval.

    Args:
        measures: The measures, from `parse_measures`.
        qrels: Grades by query id and document id.
        run: Scores of the retrieved documents by query id and document id.

    Returns:
        The values for each judged query and their means; a query without results counts as zero.

    Raises:
        TypeError: The measures do not come from `parse_measures`.

    Example:
        >>> qrels = {"q1": {"d1": 1}, "q2": {"d7": 1}}
        >>> scores = score(parse_measures("RR@10"), qrels, {"q1": {"d1": 0.5, "d2": 0.9}})
        >>> scores.mean, scores.per_query
        ({'RR@10': 0.25}, {'RR@10': {'q1': 0.5, 'q2': 0.0}})
    """
    check_measures(measures)
    # trec_eval miscounts relevant documents, or crashes, for a query whose grades are all negative
    # (form_res_rels.c sizes its table by the highest grade): such a query has no relevant document,
    # so it is not given to trec_eval and counts as zero
    run = {
        query: ranking
        for query, ranking in run.items()
        if ranking and max(qrels.get(query, {}).values(), default=-1) >= 0
    }
    mean, per_query = {}, {}
    for measure in measures:
        # one evaluator per measure: a shared one mixes up nDCG with and without gains (ir_measures
        # 0.4.3 computes both in its first invocation)
        evaluator = TREC_EVAL.evaluator([_without_rank_cutoff(measure)], qrels)
        values = {metric.query_id: metric.value for metric in evaluator.iter_calc(run)}
        aggregator = measure.aggregator()
        for query in qrels:
            value = values[query]
            if measure.NAME == "RR":
                value = _within(value, cutoff_of(measure))
            values[query] = value
            aggregator.add(value)
        mean[str(measure)] = float(aggregator.result())
        per_query[str(measure)] = {query: values[query] for query in qrels}
    return Scores(mean, per_query)


def _without_rank_cutoff(measure: Measure) -> Measure:
    """Return RR for RR@k: trec_eval's reciprocal rank has no cutoff, so `_within` applies it."""
    if measure.NAME != "RR":
        return measure
    uncut: Measure = RR(**{name: v for name, v in measure.params.items() if name != "cutoff"})
    return uncut


def _within(reciprocal_rank: float, cutoff: int | None) -> float:
    if cutoff is None or reciprocal_rank == 0 or round(1 / reciprocal_rank) <= cutoff:
        return reciprocal_rank
    return 0.0
