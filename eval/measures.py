"""Measures as values (`nDCG@10`, `R@100`, `RR@10`), computed by trec_eval through ir_measures.

Every query of the qrels counts; one without results scores zero. Ties are broken as trec_eval
breaks them: scores are compared as float32, equal ones rank by document id, last id first.
"""

from __future__ import annotations

import re
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
        "measuring needs ir_measures: pip install 'mbert-retrieval[eval]' brings it"
    ) from None

__all__ = ["Measure", "Scores", "cutoff_of", "parse_measures", "score"]

SEPARATOR = re.compile(r"[\s,]+(?![^(]*\))")  # not those inside the brackets of one measure

TREC_EVAL = registry["pytrec_eval"]


@dataclass(frozen=True)
class Scores:
    """mean: measure to its value over all judged queries.
    per_query: measure to query id to value, every judged query included, in the qrels' order.
    Measures are given by their printed names."""

    mean: dict[str, float]
    per_query: dict[str, dict[str, float]]


def parse_measures(text: str) -> list[Measure]:
    """`"nDCG@10 R@100"` (spaces or commas) to measures. Raises InputError on one unknown."""
    measures: list[Measure] = []
    for name in filter(None, SEPARATOR.split(text)):
        try:
            measure = parse_measure(name)
            known = TREC_EVAL.supports(_without_rank_cutoff(measure)) and _in_range(measure)
        except (NameError, ValueError, AssertionError):
            known = False
        if not known:
            raise InputError(
                f"unknown measure {name!r}: write ir_measures' names, such as nDCG@10 R@100 RR@10"
            )
        if measure not in measures:
            measures.append(measure)
    if not measures:
        raise InputError("no measures: name one, such as nDCG@10")
    return measures


def _in_range(measure: Measure) -> bool:
    """False for what ir_measures lets through and trec_eval cannot compute."""
    return cutoff_of(measure) != 0 and measure.params.get("rel", 1) >= 1


def cutoff_of(measure: Measure) -> int | None:
    """The rank that the measure looks down to; None when it reads the whole list."""
    cutoff = measure.params.get("cutoff", NOT_PROVIDED)
    return None if cutoff is NOT_PROVIDED else cutoff


def score(measures: list[Measure], qrels: Qrels, run: Run) -> Scores:
    """Measure a run. Queries that are not judged are left out, as in trec_eval."""
    # trec_eval counts relevant documents wrongly, or crashes, for a query whose grades are all
    # negative (form_res_rels.c sizes its table by the highest grade): such a query has nothing
    # relevant, and is left to count as zero
    run = {
        query: ranking
        for query, ranking in run.items()
        if ranking and max(qrels.get(query, {}).values(), default=-1) >= 0
    }
    mean, per_query = {}, {}
    for measure in measures:
        # one evaluator a measure: sharing one mixes up nDCG with and without gains (ir_measures
        # 0.4.3 puts both in the first invocation)
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
    """trec_eval's reciprocal rank has no cutoff: RR@k is its RR, zero where the rank is above k."""
    if measure.NAME != "RR":
        return measure
    return RR(**{name: value for name, value in measure.params.items() if name != "cutoff"})


def _within(reciprocal_rank: float, cutoff: int | None) -> float:
    if cutoff is None or reciprocal_rank == 0 or round(1 / reciprocal_rank) <= cutoff:
        return reciprocal_rank
    return 0.0
