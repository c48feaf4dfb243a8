"""Results as tables: systems by data sets, and a suite beside its published scores."""

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
    """One line of a suite's table: column (or "mean") to the main measure, as a fraction.

    published: somebody's, not measured here. Columns without a value are left out of `values`.
    """

    label: str
    values: Mapping[str, float]
    published: bool


@dataclass(frozen=True)
class SuiteReport:
    """A suite's published rows, each followed by what was measured to reproduce it, then the rest.

    cells: published numbers; measured: how many of them have a number of ours beside them.
    """

    suite: Suite
    rows: list[SuiteRow]
    cells: int
    measured: int
    results: list[Result] = field(default_factory=list)

    @property
    def count_line(self) -> str:
        """How much of what was published was run here."""
        if not self.cells:
            return "No published scores are recorded for this suite."
        return (
            f"{self.cells} published cells: {self.measured} measured here, "
            f"{self.cells - self.measured} not run."
        )


def markdown_table(results: Sequence[Result], measures: Sequence[str] = DEFAULT_MEASURES) -> str:
    """`systems_table` in Markdown."""
    return markdown(systems_table(results, measures))


def systems_table(results: Sequence[Result], measures: Sequence[str] = DEFAULT_MEASURES) -> Table:
    """A row a system, a column a data set and measure, three decimals; systems and data sets stand
    in the order of their first result.

    The best value of a column of several is bold; a cell that nobody measured is a dash.
    Raises InputError when two results claim the same cell, or when results under one dataset's
    name come from different files.
    """
    datasets: dict[str, Result] = {}
    rows: dict[str, dict[str, Result]] = {}
    for result in results:
        dataset = f"{result.dataset['name']} {result.dataset['split']}"
        first = datasets.setdefault(dataset, result)
        if first.dataset["checksums"] != result.dataset["checksums"]:
            raise InputError(
                f"{first.system!r} and {result.system!r} measured different files as {dataset}: "
                "measure one of them again"
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
    """Everything measured of a suite beside what was published.

    A column that is the mean of several data sets has a value once all of them are measured, and
    so has the mean over all columns. BM25's results stand beside its published row.
    Raises InputError when two results claim the same cell.
    """
    mine = [result for result in results if (result.suite or {}).get("name") == suite.name]
    systems: dict[tuple[str | None, str], dict[str, float]] = {}
    published_names = {published.row for published in suite.published}
    for result in mine:
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
        found = set().union(*beside.values()) if beside else set()
        measured += len(found & set(published.scores))
    others = {name: c for (row, name), c in columns.items() if row not in published_names}
    rows += [SuiteRow(name, values, False) for name, values in others.items()]
    return SuiteReport(suite, rows, cells, measured, mine)


def suite_table(suite: Suite, results: Sequence[Result]) -> str:
    """The suite's table in Markdown, with the count of published cells under it."""
    report = suite_report(suite, results)
    return f"{markdown(rows_table(report))}\n{report.count_line}\n"


def rows_table(report: SuiteReport) -> Table:
    """The main measure in percent, one decimal, as papers print it. Empty cells are dashes."""
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
    """Task to value, as column to value, and the mean."""
    columns = {}
    for column in suite.columns:
        tasks = [task.name for task in suite.tasks if task.column == column]
        if all(task in values for task in tasks):
            columns[column] = fmean(values[task] for task in tasks)
    if len(suite.columns) > 1 and len(columns) == len(suite.columns):
        columns[MEAN] = fmean(columns.values())
    return columns


def _best(values: Sequence[Sequence[float | None]]) -> set[tuple[int, int]]:
    """(row, column) of the best value of each column that has several."""
    best = set()
    for j, column in enumerate(zip(*values, strict=True)):
        there = [value for value in column if value is not None]
        if len(there) > 1:
            best |= {(i, j) for i, value in enumerate(column) if value == max(there)}
    return best
