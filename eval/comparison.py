"""Two systems, query by query: is the difference more than chance, and where is it?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .datasets import Dataset
from .measures import Measure
from .results import Result, read_result, read_results
from .runner import score_run
from .runs import read_run
from .tables import Table, markdown

Side = dict[tuple[str, str], Result]
"""(data set, split) to one system's result."""

SEED = 0  # the same comparison gives the same numbers
LEVEL = 0.95
SAME = 1e-9  # differences below this are none


@dataclass(frozen=True)
class Comparison:
    """One measure on one data set; differences are the second system less the first.

    low, high: bootstrap interval (95 %) of the mean difference. p: of the paired test, two-sided;
    corrected: by Holm over all that were compared at once.
    differences: query to difference.
    """

    dataset: str
    measure: str
    first: str
    second: str
    first_mean: float
    second_mean: float
    low: float
    high: float
    p: float
    corrected: float
    differences: Mapping[str, float]

    @property
    def difference(self) -> float:
        return self.second_mean - self.first_mean

    @property
    def counts(self) -> tuple[int, int, int]:
        """On how many queries the second system is better, equal, worse."""
        values = np.array(list(self.differences.values()))
        better, worse = int((values > SAME).sum()), int((values < -SAME).sum())
        return better, len(values) - better - worse, worse

    def most_changed(self, count: int) -> list[tuple[str, float]]:
        """The queries that differ most, largest first, those that do not differ left out."""
        changed = [item for item in self.differences.items() if abs(item[1]) > SAME]
        return sorted(changed, key=lambda item: (-abs(item[1]), item[0]))[:count]

    def to_json(self, changed: int) -> dict[str, Any]:
        better, equal, worse = self.counts
        return {
            "dataset": self.dataset,
            "measure": self.measure,
            "first": {"system": self.first, "mean": self.first_mean},
            "second": {"system": self.second, "mean": self.second_mean},
            "difference": self.difference,
            "interval": [self.low, self.high],
            "p": self.p,
            "p_corrected": self.corrected,
            "better": better,
            "equal": equal,
            "worse": worse,
            "most_changed": dict(self.most_changed(changed)),
        }


def read_side(path: Path, dataset: Dataset | None, measures: Sequence[Measure]) -> Side:
    """What one side of a comparison measured: a result file, a folder of them, or a run file.

    dataset: judges a run file.
    Raises InputError for a folder with two systems on a data set, and for a run file without one.
    """
    if path.is_dir():
        results = read_results(path)
    elif path.suffix == ".json":
        results = [read_result(path)]
    elif dataset is None:
        raise InputError(f"{path} is a run file: name the collection that judges it with --data")
    else:
        results = [score_run(dataset, path, read_run(path), measures)]
    side: Side = {}
    for result in results:
        key = result.dataset["name"], result.dataset["split"]
        if key in side:
            raise InputError(
                f"{path} has two systems on {' '.join(key)} ({side[key].system!r} and "
                f"{result.system!r}): name the file of one"
            )
        side[key] = result
    return side


def paired(first: Side, second: Side) -> list[tuple[Result, Result]]:
    """The data sets that both measured. Raises InputError when there are none, or when the two read
    different files under one name."""
    pairs = [(first[key], second[key]) for key in first if key in second]
    if not pairs:
        raise InputError("the two measured no data set in common")
    for one, other in pairs:
        if one.dataset["checksums"] != other.dataset["checksums"]:
            raise InputError(
                f"the two measured different files as {one.dataset['name']}: "
                "measure one of them again"
            )
    return pairs


def compare(
    pairs: Sequence[tuple[Result, Result]],
    measures: Sequence[str],
    test: str = "bootstrap",
    samples: int = 10_000,
) -> list[Comparison]:
    """Every measure that both results of a pair have.

    test: "bootstrap", of the studentised mean difference under the hypothesis of none (Efron and
        Tibshirani 1993; Sakai 2006), or "t", the paired t-test.
    samples: of the bootstrap.
    """
    found: list[Comparison] = []
    for one, other in pairs:
        for measure in measures:
            if measure not in one.per_query or measure not in other.per_query:
                continue
            a, b = one.per_query[measure], other.per_query[measure]
            differences = {query: b[query] - a[query] for query in a}
            values = np.array(list(differences.values()))
            low, high, p = bootstrap(values, samples)
            if test == "t":
                p = t_test(values)
            found.append(
                Comparison(
                    dataset=f"{one.dataset['name']} {one.dataset['split']}",
                    measure=measure,
                    first=one.system,
                    second=other.system,
                    first_mean=one.measures[measure],
                    second_mean=other.measures[measure],
                    low=low,
                    high=high,
                    p=p,
                    corrected=p,
                    differences=differences,
                )
            )
    corrected = holm([each.p for each in found])
    return [replace(each, corrected=p) for each, p in zip(found, corrected, strict=True)]


def bootstrap(differences: np.ndarray, samples: int) -> tuple[float, float, float]:
    """(n,) differences to the interval of their mean (percentiles) and the p-value of "no change".

    p is the share of samples, drawn from the differences moved to mean 0, whose t is as far from 0
    as that of the data; the data count as one sample, so it is never 0.
    """
    count = len(differences)
    if not differences.any():
        return 0.0, 0.0, 1.0
    generator = np.random.default_rng(SEED)
    mean = differences.mean()
    observed = _t(differences[None])[0]
    means, extreme = [], 0
    chunk = max(1, 2_000_000 // count)
    for start in range(0, samples, chunk):
        drawn = generator.integers(0, count, (min(chunk, samples - start), count))
        sample = differences[drawn]
        means.append(sample.mean(axis=1))
        extreme += int((np.abs(_t(sample - mean)) >= abs(observed) * (1 - 1e-12)).sum())
    low, high = np.quantile(np.concatenate(means), ((1 - LEVEL) / 2, (1 + LEVEL) / 2)).tolist()
    return low, high, (extreme + 1) / (samples + 1)


def t_test(differences: np.ndarray) -> float:
    """Two-sided p-value of the paired t-test; 1 where nothing differs, or for a single query."""
    from scipy.stats import ttest_1samp

    if not differences.any() or len(differences) < 2:
        return 1.0
    return float(ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the given order (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def as_text(found: Sequence[Comparison], changed: int, texts: Mapping[str, str], test: str) -> str:
    """The table of differences, and under it the queries that changed most."""
    first, second = found[0].first, found[0].second
    rows = []
    for each in found:
        better, equal, worse = each.counts
        rows.append(
            [
                f"{each.first_mean:.4f}",
                f"{each.second_mean:.4f}",
                f"{each.difference:+.4f}",
                f"{each.low:+.4f} to {each.high:+.4f}",
                f"{each.p:.4f}",
                f"{each.corrected:.4f}",
                f"{better}/{equal}/{worse}",
            ]
        )
    table = Table(
        ["measure", "A", "B", "B - A", "95 % of B - A", "p", "p (Holm)", "better/equal/worse"],
        [f"{each.dataset} {each.measure}" for each in found],
        rows,
    )
    lines = [f"A: {first}", f"B: {second}", f"paired {test} test over queries", "", markdown(table)]
    for each in found if changed else []:
        top = each.most_changed(changed)
        if top:
            lines.append(f"{each.dataset} {each.measure}, the queries that changed most:")
            for query, difference in top:
                text = " ".join(texts.get(query, "").split())[:100]
                lines.append(f"  {difference:+.4f}  {query}  {text}".rstrip())
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _t(rows: np.ndarray) -> np.ndarray:
    """(samples, n) to each row's mean over its standard error; 0 / 0 is 0."""
    count = rows.shape[1]
    mean = rows.mean(axis=1)
    if count < 2:
        return np.where(mean == 0, 0.0, np.copysign(math.inf, mean))
    error = rows.std(axis=1, ddof=1) / math.sqrt(count)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = mean / error
    return np.where(np.abs(mean) < 1e-15, 0.0, t)
