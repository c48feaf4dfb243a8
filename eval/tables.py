"""Tables in Markdown, HTML and LaTeX."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

LATEX_SPECIALS = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Args:
        header: Header of the label column and of each column of cells.
        labels: One label per row.
        cells: Texts of each row; None for an empty cell.
        bold: (row, column) of the cells that are emphasised.
    """

    header: Sequence[str]
    labels: Sequence[str]
    cells: Sequence[Sequence[str | None]]
    bold: set[tuple[int, int]] = field(default_factory=set)


def markdown(table: Table) -> str:
    """Return the table in Markdown, padded to be readable as text; cells are right-aligned."""
    lines = [[name.replace("|", "\\|") for name in table.header]]
    for i, (label, row) in enumerate(zip(table.labels, table.cells, strict=True)):
        texts = [
            "-" if text is None else f"**{text}**" if (i, j) in table.bold else text
            for j, text in enumerate(row)
        ]
        lines.append([label.replace("|", "\\|"), *texts])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "".join(_padded(line, widths) for line in (lines[0], rule, *lines[1:]))


def to_html(table: Table) -> str:
    """Return a `<table>` whose first column holds the headers of the rows."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.header)
    rows = []
    for i, (label, row) in enumerate(zip(table.labels, table.cells, strict=True)):
        cells = [
            "<td></td>"
            if text is None
            else f"<td><b>{html.escape(text)}</b></td>"
            if (i, j) in table.bold
            else f"<td>{html.escape(text)}</td>"
            for j, text in enumerate(row)
        ]
        rows.append(f"<tr><th>{html.escape(label)}</th>{''.join(cells)}</tr>")
    body = "\n".join(rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"


def latex(table: Table, caption: str) -> str:
    """Return a `table` with booktabs rules; needs `\\usepackage{booktabs}`."""
    lines = [" & ".join(map(_tex, table.header)) + r" \\", r"\midrule"]
    for i, (label, row) in enumerate(zip(table.labels, table.cells, strict=True)):
        cells = [
            "--" if text is None else rf"\textbf{{{_tex(text)}}}" if (i, j) in table.bold else text
            for j, text in enumerate(row)
        ]
        lines.append(" & ".join([_tex(label), *cells]) + r" \\")
    columns = "l" + "r" * (len(table.header) - 1)
    body = "\n".join(lines)
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{_tex(caption)}}}\n"
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n\\bottomrule\n"
        "\\end{tabular}\n\\end{table}\n"
    )


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    texts = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in rest)]
    return f"| {' | '.join(texts)} |\n"


def _tex(text: str) -> str:
    return "".join(LATEX_SPECIALS.get(mark, mark) for mark in text)
