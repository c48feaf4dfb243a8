"""Descriptions of suites, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .suites import SUITES, Suite
from .suites.spec import ClassificationTask, Task


def overview() -> str:
    """Return one line per suite."""
    width = max(map(len, SUITES))
    lines = []
    for suite in SUITES.values():
        count = len(suite.tasks)
        cells = sum(len(published.scores) for published in suite.published)
        sets = "1 data set" if count == 1 else f"{count} data sets"
        lines.append(f"{suite.name:<{width}}  {suite.title} ({sets}, {cells} published cells)")
    return "\n".join(lines) + "\n"


def describe(suite: Suite) -> str:
    """Return data sets, protocol, measures and published scores of a suite as text."""
    lines = [suite.title, "", suite.protocol, "", f"Measures: {suite.measures}", "", "Data sets:"]
    lines += [f"  {task.name}: {_source(task)}" for task in suite.tasks]
    if suite.published:
        lines += ["", f"Published {suite.main_measure} (%):"]
    for published in suite.published:
        scores = ", ".join(f"{c} {100 * value:.1f}" for c, value in published.scores.items())
        lines.append(f"  {published.row}: {scores}  [{published.source}]")
    return "\n".join(lines) + "\n"


def to_json(suite: Suite) -> dict[str, Any]:
    """Return the suite as a JSON object."""
    record = asdict(suite)
    for task in record["tasks"]:
        task["column"] = task.pop("group", "") or task["name"]
    return record


def _source(task: Task | ClassificationTask) -> str:
    if isinstance(task, ClassificationTask):
        return f"{task.repo} ({task.config}), split {task.split}, {task.measure}"
    data = task.data
    size = ""
    if task.documents is not None:
        size = f", {task.documents:,} documents, {task.queries:,} queries"
    config = data.corpus[0].removesuffix("-corpus").removesuffix("corpus")
    where = "".join(f", {column} {value}" for column, value in data.where.items())
    named = f" ({config})" if config else ""
    return f"{data.repo}{named}, split {task.split}{where}{size}"
