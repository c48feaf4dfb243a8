"""`mbert-eval list`, `report` and `compare`: what can be measured, what was, and whether two
systems differ."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .console import print_json


class Format(StrEnum):
    markdown = "markdown"
    html = "html"
    latex = "latex"


class Test(StrEnum):
    bootstrap = "bootstrap"
    t = "t"


Measures = Annotated[
    str, typer.Option("--measures", help="In the names of ir_measures, separated by spaces.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line on stdout.")]


def list_suites(
    suite: Annotated[
        str | None, typer.Argument(metavar="[SUITE]", help="Say everything about this one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the benchmarks, or one's data sets, protocol and published scores."""
    from ..eval.listing import describe, overview, to_json
    from ..eval.suites import SUITES, find_suite

    if as_json:
        for each in [find_suite(suite)] if suite else SUITES.values():
            print_json(to_json(each))
    else:
        typer.echo(describe(find_suite(suite)) if suite else overview(), nl=False)


def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="Of result files (*.json).")
    ],
    measures: Measures = "nDCG@10 R@100",
    suite: Annotated[
        list[str] | None, typer.Option(help="These suites alone, also where nothing was measured.")
    ] = None,
    format: Annotated[Format, typer.Option(help="Of the document.")] = Format.markdown,
    output: Annotated[Path | None, typer.Option(help="Write it here, not to stdout.")] = None,
    as_json: Json = False,
) -> None:
    """Show results as tables, suites beside their published scores; HTML has plots as well."""
    from ..eval import page
    from ..eval.files import write_whole
    from ..eval.measures import parse_measures
    from ..eval.results import read_results
    from ..eval.suites import find_suite

    names = [str(measure) for measure in parse_measures(measures)]
    suites = [find_suite(name) for name in suite or []]
    results = [result for folder in folders for result in read_results(folder)]
    if as_json:
        for result in results:
            print_json(result.summary())
        return
    makers = {
        Format.markdown: page.as_markdown,
        Format.html: page.as_html,
        Format.latex: page.as_latex,
    }
    text = makers[format](results, names, suites)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_whole(output, text)


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Result file, folder, or run file.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The same of the other system.")],
    measures: Measures = "nDCG@10 R@100",
    data: Annotated[
        Path | None,
        typer.Option(help="BEIR folder: judges run files, and shows the texts of queries."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Of the BEIR folder.")] = None,
    test: Annotated[Test, typer.Option(help="Paired, over queries.")] = Test.bootstrap,
    samples: Annotated[int, typer.Option(min=100, help="Of the bootstrap.")] = 10_000,
    changed: Annotated[int, typer.Option(min=0, help="Queries that changed most to show.")] = 5,
    as_json: Json = False,
) -> None:
    """Compare two systems query by query: is the difference more than chance, and where is it?

    p-values are corrected (Holm) over all data sets and measures that are compared at once.
    """
    from ..eval import comparison
    from ..eval.datasets import read_beir
    from ..eval.measures import parse_measures

    wanted = parse_measures(measures)
    dataset = None if data is None else read_beir(data, split)
    pairs = comparison.paired(
        comparison.read_side(first, dataset, wanted), comparison.read_side(second, dataset, wanted)
    )
    found = comparison.compare(pairs, [str(m) for m in wanted], test.value, samples)
    if not found:
        raise InputError(f"{first} and {second} have none of the measures {measures} in common")
    texts = {} if dataset is None else dataset.queries
    if as_json:
        for each in found:
            print_json(each.to_json(changed))
    else:
        typer.echo(comparison.as_text(found, changed, texts, test.value), nl=False)
