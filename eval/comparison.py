"""Comparison of two systems by query: differences, confidence intervals, paired tests."""

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

SystemResults = dict[tuple[str, str], Result]
"""The results of one system by data set and split."""

SEED = 0  # the same comparison gives the same numbers
LEVEL = 0.95
TOLERANCE = 1e-9  # smaller differences count as none


@dataclass(frozen=True)
class Comparison:
    """Two systems compared by one measure on one data set.

    Args:
        dataset: Name and split of the data set.
        measure: Name of the measure.
        first: Name of the first system.
        second: Name of the second system.
        first_mean: Mean of the first system.
        second_mean: Mean of the second system.
        low: Lower end of the 95 % bootstrap interval of the mean difference.
        high: Upper end of this interval.
        p: Two-sided p-value of the paired test.
        corrected: The p-value after Holm's correction over all comparisons made together.
        differences: Value of the second system less that of the first, by query id.
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
        """The mean of the second system less that of the first."""
        return self.second_mean - self.first_mean

    @property
    def counts(self) -> tuple[int, int, int]:
        """Numbers of queries on which the second system is better, equal and worse."""
        values = np.array(list(self.differences.values()))
        better, worse = int((values > TOLERANCE).sum()), int((values < -TOLERANCE).sum())
        return better, len(values) - better - worse, worse

    def most_changed(self, count: int) -> list[tuple[str, float]]:
        """Return the queries that differ most and their differences, the largest first."""
        changed = [item for item in self.differences.items() if abs(item[1]) > TOLERANCE]
        return sorted(changed, key=lambda item: (-abs(item[1]), item[0]))[:count]

    def to_json(self, changed: int) -> dict[str, Any]:
        """Return the comparison as a JSON object, with the `changed` queries that differ most."""
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


def read_system(path: Path, dataset: Dataset | None, measures: Sequence[Measure]) -> SystemResults:
    """Read the results of one system.

    Args:
        path: A result file, a folder of result files, or a run file.
        dataset: The data set of a run file, whose qrels judge it.
        measures: The measures to compute for a run file.

    Returns:
        The results by data set and split.

    Raises:
        InputError: A folder has two systems on one data set, or a run file comes without `dataset`.
    """
    if path.is_dir():
        results = read_results(path)
    elif path.suffix == ".json":
        results = [read_result(path)]
    elif dataset is None:
        raise InputError(f"{path} is a run file: name the BEIR folder that judges it with --data")
    else:
        results = [score_run(dataset, path, read_run(path), measures)]
    by_split: SystemResults = {}
    for result in results:
        key = result.dataset["name"], result.dataset["split"]
        if key in by_split:
            raise InputError(
                f"{path} has two systems on {' '.join(key)} ({by_split[key].system!r} and "
                f"{result.system!r}): name the result file of one"
            )
        by_split[key] = result
    return by_split


def pair_results(first: SystemResults, second: SystemResults) -> list[tuple[Result, Result]]:
    """Pair the results of two systems by data set.

    Args:
        first: Results of the first system.
        second: Results of the second system.

    Returns:
        Pairs of results, for the data sets that both have.

    Raises:
        InputError: They have no data set in common, or measured different files of one name.
    """
    pairs = [(first[key], second[key]) for key in first if key in second]
    if not pairs:
        raise InputError("the two systems have no data set in common")
    for one, other in pairs:
        if one.dataset["checksums"] != other.dataset["checksums"]:
            raise InputError(
                f"the two systems measured different files as {one.dataset['name']}: "
                "run one of them again"
            )
    return pairs


def compare(
    pairs: Sequence[tuple[Result, Result]],
    measures: Sequence[str],
    test: str = "bootstrap",
    samples: int = 10_000,
) -> list[Comparison]:
    """Compare pairs of results by every measure that both have.

    Args:
        pairs: Pairs from `pair_results`.
        measures: Names of the measures.
        test: "bootstrap", a paired bootstrap test of the studentised mean difference (Efron and
            Tibshirani, An Introduction to the Bootstrap, 1993; Sakai, SIGIR 2006), or "t", the
            paired t-test.
        samples: Number of bootstrap samples.

    Returns:
        One comparison per pair and measure; p-values are corrected over all of them (Holm 1979).
    """
    comparisons: list[Comparison] = []
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
            comparisons.append(
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
    corrected = holm([each.p for each in comparisons])
    return [replace(each, corrected=p) for each, p in zip(comparisons, corrected, strict=True)]


def bootstrap(differences: np.ndarray, samples: int) -> tuple[float, float, float]:
    """Test by bootstrap whether the mean of paired differences is zero.

    p is the fraction of samples, drawn from the differences shifted to mean 0, whose t statistic is
    at least as far from 0 as that of the data; the data count as one sample, so p is never 0. The
    generator has a fixed seed: the same differences give the same numbers.

    Args:
        differences: (n,) differences, one per query.
        samples: Number of bootstrap samples.

    Returns:
        Lower and upper end of the 95 % percentile interval of the mean, and the p-value.

    Example:
        >>> import numpy as np
        >>> low, high, p = bootstrap(np.array([0.2, 0.1, 0.3, 0.2, 0.1, 0.0]), 1000)
        >>> 0 < low < 0.15 < high and p < 0.05
        True
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
    """Return the two-sided p-value of the paired t-test; 1 if nothing differs, or for one query."""
    from scipy.stats import ttest_1samp

    if not differences.any() or len(differences) < 2:
        return 1.0
    return float(ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values by Holm's step-down method (Holm 1979).

    Args:
        p_values: The p-values of all comparisons that are made together.

    Returns:
        The corrected p-values, in the given order.

    Example:
        >>> holm([0.25, 0.125, 0.75])
        [0.5, 0.375, 0.75]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def to_text(
    comparisons: Sequence[Comparison], changed: int, texts: Mapping[str, str], test: str
) -> str:
    """Return a table of the differences and, below it, the queries that changed most.

    Args:
        comparisons: At least one comparison, all of the same systems.
        changed: Number of queries to list.
        texts: Texts of queries by id; may lack some.
        test: Name of the test.

    Returns:
        Text for a terminal.
    """
    first, second = comparisons[0].first, comparisons[0].second
    rows = []
    for each in comparisons:
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
        [f"{each.dataset} {each.measure}" for each in comparisons],
        rows,
    )
    lines = [f"A: {first}", f"B: {second}", f"paired {test} test over queries", "", markdown(table)]
    for each in comparisons if changed else []:
        top = each.most_changed(changed)
        if top:
            lines.append(f"{each.dataset} {each.measure}, the queries that changed most:")
            for query, difference in top:
                text = " ".join(texts.get(query, "").split())[:100]
                lines.append(f"  {difference:+.4f}  {query}  {text}".rstrip())
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _t(rows: np.ndarray) -> np.ndarray:
    """Return mean over standard error of each row, (samples, n) to (samples,); 0 / 0 is 0."""
    count = rows.shape[1]
    mean = rows.mean(axis=1)
    if count < 2:
        return np.where(mean == 0, 0.0, np.copysign(math.inf, mean))
    error = rows.std(axis=1, ddof=1) / math.sqrt(count)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = mean / error
    return np.where(np.abs(mean) < 1e-15, 0.0, t)
