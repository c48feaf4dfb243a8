"""A table of results in Markdown, HTML and LaTeX."""

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
    """header: of the label column and of each other; labels: one a row; cells: rows of texts, None
    where nobody measured; bold: (row, column) of cells to stand out."""

    header: Sequence[str]
    labels: Sequence[str]
    cells: Sequence[Sequence[str | None]]
    bold: set[tuple[int, int]] = field(default_factory=set)


def markdown(table: Table) -> str:
    """Padded so that the source reads as a table too; numbers to the right."""
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
    """A `<table>`; the first column is a row's header."""
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
    """A `table` with booktabs rules, for `\\usepackage{booktabs}`."""
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
