"""Results as one document: Markdown, LaTeX, or an HTML page with plots."""

from __future__ import annotations

import html
from collections.abc import Sequence

from .plots import Point, bars, scatter
from .report import (
    SuiteReport,
    markdown_table,
    rows_table,
    suite_report,
    suite_table,
    systems_table,
)
from .results import Result
from .suites import SUITES, Suite
from .tables import latex, to_html

STYLE = """
body { font: 14px/1.5 sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; font-size: 12px; display: block; overflow-x: auto }
th, td { padding: .15em .6em; border-bottom: 1px solid #e4e4e4; text-align: right }
th:first-child { text-align: left; font-weight: normal; white-space: nowrap }
svg { max-width: 100%; height: auto; display: block; margin: 1em 0 }
"""


def suites_of(results: Sequence[Result], chosen: Sequence[Suite] = ()) -> list[Suite]:
    """Return the chosen suites; by default those that the results belong to."""
    names = {(result.suite or {}).get("name") for result in results}
    return list(chosen) or [suite for name, suite in SUITES.items() if name in names]


def as_markdown(
    results: Sequence[Result], measures: Sequence[str], suites: Sequence[Suite] = ()
) -> str:
    """Return results outside of suites as one table, then each suite beside its published scores.

    Args:
        results: The results.
        measures: Names of the measures to show for results outside of suites.
        suites: Show these suites only, also without results; by default those of the results.

    Returns:
        A Markdown document.

    Raises:
        InputError: Two results belong to the same cell of a table.
    """
    parts = []
    standalone = _outside_suites(results)
    if standalone and not suites:
        parts.append(markdown_table(standalone, measures))
    for suite in suites_of(results, suites):
        parts.append(f"### {suite.title}\n\n{suite_table(suite, results)}\n{suite.protocol}\n")
    if suites_of(results, suites):
        parts.append(f"{count_line(results)}\n")
    return "\n".join(parts)


def as_latex(
    results: Sequence[Result], measures: Sequence[str], suites: Sequence[Suite] = ()
) -> str:
    """Return the tables of `as_markdown` in LaTeX."""
    parts = []
    standalone = _outside_suites(results)
    if standalone and not suites:
        parts.append(latex(systems_table(standalone, measures), "Systems by data set and measure."))
    for suite in suites_of(results, suites):
        report = suite_report(suite, results)
        caption = f"{suite.title}. {suite.protocol} {report.count_line}"
        parts.append(latex(rows_table(report), caption))
    return "\n".join(parts)


def as_html(
    results: Sequence[Result], measures: Sequence[str], suites: Sequence[Suite] = ()
) -> str:
    """Return the tables as an HTML page with plots; it loads nothing from elsewhere.

    The plots show bars beside the published scores, and quality against the time per query and
    the size of the index.

    Args:
        results: As in `as_markdown`.
        measures: As in `as_markdown`; the first one is plotted.
        suites: As in `as_markdown`.

    Returns:
        An HTML document.

    Raises:
        InputError: Two results belong to the same cell of a table.
    """
    main = measures[0]
    parts = ["<h1>Retrieval results</h1>"]
    standalone = _outside_suites(results)
    if standalone and not suites:
        groups: dict[str, dict[str, float]] = {}
        for result in standalone:
            if main in result.measures:
                name = f"{result.dataset['name']} {result.dataset['split']}"
                groups.setdefault(name, {})[result.system] = result.measures[main]
        parts += [to_html(systems_table(standalone, measures)), f"<h2>{html.escape(main)}</h2>"]
        parts.append(bars(groups))
    for suite in suites_of(results, suites):
        parts += _suite_section(suite_report(suite, results))
    parts += _cost_plots(results, main)
    if suites_of(results, suites):
        parts.append(f"<p>{html.escape(count_line(results))}</p>")
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f"<title>Retrieval results</title>\n<style>{STYLE}</style>\n{body}\n</html>\n"
    )


def count_line(results: Sequence[Result]) -> str:
    """Return a sentence that says how many published scores of all suites were measured."""
    reports = [suite_report(suite, results) for suite in SUITES.values()]
    cells, measured = sum(r.cells for r in reports), sum(r.measured for r in reports)
    left = cells - measured
    return f"All suites: {cells} published cells, {measured} measured here, {left} not run."


def _suite_section(report: SuiteReport) -> list[str]:
    suite = report.suite
    columns = rows_table(report).header[1:]
    groups = {
        column: {row.label: row.values[column] for row in report.rows if column in row.values}
        for column in columns
    }
    measured = {c for row in report.rows if not row.published for c in row.values}
    shown = {c: values for c, values in groups.items() if not measured or c in measured}
    return [
        f"<h2>{html.escape(suite.title)}</h2>",
        f"<p>{html.escape(suite.protocol)}</p>",
        to_html(rows_table(report)),
        f"<p>{html.escape(report.count_line)}</p>",
        bars(shown, published=[row.label for row in report.rows if row.published]),
    ]


def _cost_plots(results: Sequence[Result], measure: str) -> list[str]:
    latency, size = [], []
    for result in results:
        if measure not in result.measures:
            continue
        value = result.measures[measure]
        label = f"{result.system}, {result.dataset['name']}"
        if "latency_ms" in result.search:
            median = result.search["latency_ms"]["median"]
            latency.append(Point(median, value, label, result.system))
        if result.index and result.index.get("bytes"):
            documents = result.dataset["documents"]
            size.append(Point(result.index["bytes"] / documents, value, label, result.system))
    parts = []
    for points, title, axis in (
        (latency, "Quality and time per query", "milliseconds per query, median of single queries"),
        (size, "Quality and index size", "bytes per document, including texts"),
    ):
        if points:
            parts += [f"<h2>{title}</h2>", scatter(points, axis, f"{measure} (%)")]
    return parts


def _outside_suites(results: Sequence[Result]) -> list[Result]:
    return [result for result in results if result.suite is None]
