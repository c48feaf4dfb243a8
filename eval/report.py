"""Results as a Markdown table: a row a system, a column a dataset and measure."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from .results import Result

DEFAULT_MEASURES = ("nDCG@10", "R@100")


def markdown_table(results: Sequence[Result], measures: Sequence[str] = DEFAULT_MEASURES) -> str:
    """The table, three decimals; systems and datasets stand in the order of their first result.

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

    columns = [
        (
            f"{dataset} {measure}",
            [
                row[dataset].measures.get(measure) if dataset in row else None
                for row in rows.values()
            ],
        )
        for dataset in datasets
        for measure in measures
    ]
    header = ["system", *(name for name, _ in columns)]
    body = [[name.replace("|", "\\|") for name in rows], *(_cells(values) for _, values in columns)]
    lines = [header, *zip(*body, strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "".join(_line(line, widths) for line in (header, rule, *lines[1:]))


def _cells(values: Sequence[float | None]) -> list[str]:
    """One column's values as text."""
    measured = [value for value in values if value is not None]
    best = max(measured) if len(measured) > 1 else None
    texts = []
    for value in values:
        text = "-" if value is None else f"{value:.3f}"
        texts.append(f"**{text}**" if value is not None and value == best else text)
    return texts


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Text to the left, numbers to the right, padded so that the source reads as a table too."""
    first, *rest = zip(cells, widths, strict=True)
    texts = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in rest)]
    return f"| {' | '.join(texts)} |\n"
