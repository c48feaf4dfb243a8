"""Tables of results: systems by data sets, and suites beside their published scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from ..errors import InputError
from .results import Result
from .suites.spec import MEAN, Suite
from .tables import Table, markdown

DEFAULT_MEASURES = ("nDCG@10", "R@100")


@dataclass(frozen=True)
class SuiteRow:
    """One row of a suite's table.

    Args:
        label: Name of the row.
        values: The main measure, between 0 and 1, by column or "mean"; missing where unknown.
        published: Whether the row was published by others, not measured here.
    """

    label: str
    values: Mapping[str, float]
    published: bool


@dataclass(frozen=True)
class SuiteReport:
    """The results of a suite beside its published scores.

    Args:
        suite: The suite.
        rows: Published rows, each followed by the results that reproduce it, then other results.
        cells: Number of published scores.
        measured: How many of these have a measured score beside them.
        results: The results that belong to the suite.
    """

    suite: Suite
    rows: list[SuiteRow]
    cells: int
    measured: int
    results: list[Result] = field(default_factory=list)

    @property
    def count_line(self) -> str:
        """A sentence that says how many published scores were measured."""
        if not self.cells:
            return "No published scores are recorded for this suite."
        return (
            f"{self.cells} published cells: {self.measured} measured here, "
            f"{self.cells - self.measured} not run."
        )


def markdown_table(results: Sequence[Result], measures: Sequence[str] = DEFAULT_MEASURES) -> str:
    """Return `systems_table` in Markdown."""
    return markdown(systems_table(results, measures))


def systems_table(results: Sequence[Result], measures: Sequence[str] = DEFAULT_MEASURES) -> Table:
    """Tabulate results: one row per system, one column per data set and measure, three decimals.

    Systems and data sets are in the order of their first result. The best value of a column is
    bold if the column has several.

    Args:
        results: The results.
        measures: Names of the measures to show.

    Returns:
        The table.

    Raises:
        InputError: Two results belong to the same cell, or results of one data set come from
            different files.
    """
    datasets: dict[str, Result] = {}
    rows: dict[str, dict[str, Result]] = {}
    for result in results:
        dataset = f"{result.dataset['name']} {result.dataset['split']}"
        first = datasets.setdefault(dataset, result)
        if first.dataset["checksums"] != result.dataset["checksums"]:
            raise InputError(
                f"{first.system!r} and {result.system!r} measured different files as {dataset}: "
                "run one of them again"
            )
        row = rows.setdefault(result.system, {})
        if dataset in row:
            raise InputError(f"two results for {result.system!r} on {dataset}: remove one")
        row[dataset] = result
    columns = [(dataset, measure) for dataset in datasets for measure in measures]
    values = [
        [row[d].measures.get(measure) if d in row else None for d, measure in columns]
        for row in rows.values()
    ]
    return Table(
        header=["system", *(" ".join(column) for column in columns)],
        labels=list(rows),
        cells=[[None if v is None else f"{v:.3f}" for v in row] for row in values],
        bold=_best(values),
    )


def suite_report(suite: Suite, results: Sequence[Result]) -> SuiteReport:
    """Collect the results of a suite beside its published scores.

    A column that is the mean of several data sets has a value once all of them are measured, and
    so has the mean over all columns. Results of a system with the name of a published row (BM25)
    are shown beside that row.

    Args:
        suite: The suite.
        results: Results of this and of other suites.

    Returns:
        The rows of the suite's table and their counts.

    Raises:
        InputError: Two results belong to the same cell.
    """
    of_suite = [result for result in results if (result.suite or {}).get("name") == suite.name]
    systems: dict[tuple[str | None, str], dict[str, float]] = {}
    published_names = {published.row for published in suite.published}
    for result in of_suite:
        assert result.suite is not None
        row = result.suite["published"]
        if row is None and result.system in published_names:
            row = result.system
        values = systems.setdefault((row, result.system), {})
        task = result.suite["task"]
        if task in values:
            raise InputError(
                f"two results for {result.system!r} on {task} of {suite.name}: remove one"
            )
        if suite.main_measure in result.measures:
            values[task] = result.measures[suite.main_measure]
    columns = {key: _columns(suite, values) for key, values in systems.items()}

    rows: list[SuiteRow] = []
    cells = measured = 0
    for published in suite.published:
        rows.append(SuiteRow(f"{published.row} (published)", published.scores, True))
        beside = {name: c for (row, name), c in columns.items() if row == published.row}
        rows += [SuiteRow(name, values, False) for name, values in beside.items()]
        cells += len(published.scores)
        reproduced = set().union(*beside.values()) if beside else set()
        measured += len(reproduced & set(published.scores))
    others = {name: c for (row, name), c in columns.items() if row not in published_names}
    rows += [SuiteRow(name, values, False) for name, values in others.items()]
    return SuiteReport(suite, rows, cells, measured, of_suite)


def suite_table(suite: Suite, results: Sequence[Result]) -> str:
    """Return the suite's table in Markdown, with the count of published cells under it."""
    report = suite_report(suite, results)
    return f"{markdown(rows_table(report))}\n{report.count_line}\n"


def rows_table(report: SuiteReport) -> Table:
    """Tabulate the main measure in percent with one decimal, as papers print it."""
    columns = report.suite.columns
    if len(columns) > 1:
        columns = [*columns, MEAN]
    elif all(set(row.values) == {MEAN} for row in report.rows):
        columns = [MEAN]
    return Table(
        header=[f"{report.suite.main_measure} (%)", *columns],
        labels=[row.label for row in report.rows],
        cells=[
            [f"{100 * row.values[c]:.1f}" if c in row.values else None for c in columns]
            for row in report.rows
        ],
    )


def _columns(suite: Suite, values: Mapping[str, float]) -> dict[str, float]:
    """Return the value of each column that is complete, and their mean if all are."""
    columns = {}
    for column in suite.columns:
        tasks = [task.name for task in suite.tasks if task.column == column]
        if all(task in values for task in tasks):
            columns[column] = fmean(values[task] for task in tasks)
    if len(suite.columns) > 1 and len(columns) == len(suite.columns):
        columns[MEAN] = fmean(columns.values())
    return columns


def _best(values: Sequence[Sequence[float | None]]) -> set[tuple[int, int]]:
    """Return (row, column) of the best value of each column that has several values."""
    best = set()
    for j, column in enumerate(zip(*values, strict=True)):
        known = [value for value in column if value is not None]
        if len(known) > 1:
            best |= {(i, j) for i, value in enumerate(column) if value == max(known)}
    return best
