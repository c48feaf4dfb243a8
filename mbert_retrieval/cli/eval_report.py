"""`mbert-eval list`, `report` and `compare`: benchmarks, results, and differences of systems."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .console import print_json
from .eval_options import DEFAULT_MEASURES, MeasureNames


class Format(StrEnum):
    markdown = "markdown"
    html = "html"
    latex = "latex"


class Test(StrEnum):
    bootstrap = "bootstrap"
    t = "t"


Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per line on standard output.")
]


def list_suites(
    suite: Annotated[
        str | None, typer.Argument(metavar="[SUITE]", help="Describe this benchmark only.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the benchmarks, or describe one: data sets, protocol and published scores."""
    from ..eval.listing import describe, overview, to_json
    from ..eval.suites import SUITES, find_suite

    if as_json:
        for each in [find_suite(suite)] if suite else SUITES.values():
            print_json(to_json(each))
    else:
        typer.echo(describe(find_suite(suite)) if suite else overview(), nl=False)


def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="Folders of result files (*.json).")
    ],
    measures: MeasureNames = DEFAULT_MEASURES,
    suite: Annotated[
        list[str] | None,
        typer.Option(help="Show this suite only, also without results (can be repeated)."),
    ] = None,
    format: Annotated[Format, typer.Option(help="Format of the document.")] = Format.markdown,
    output: Annotated[
        Path | None, typer.Option(help="Write to this file instead of standard output.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show results as tables, suites beside their published scores; HTML has plots too."""
    from ..eval import page
    from ..eval.files import write_text_file
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
        write_text_file(output, text)


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="Result file, folder of result files, or run file.")
    ],
    second: Annotated[Path, typer.Argument(metavar="B", help="The same for the other system.")],
    measures: MeasureNames = DEFAULT_MEASURES,
    data: Annotated[
        Path | None,
        typer.Option(help="BEIR folder that judges run files and gives the texts of queries."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Qrels split of the BEIR folder (optional if there is only one)."),
    ] = None,
    test: Annotated[Test, typer.Option(help="Paired test over queries.")] = Test.bootstrap,
    samples: Annotated[int, typer.Option(min=100, help="Number of bootstrap samples.")] = 10_000,
    changed: Annotated[
        int, typer.Option(min=0, help="How many of the most changed queries to show.")
    ] = 5,
    as_json: Json = False,
) -> None:
    """Compare two systems by query: mean difference, confidence interval, significance.

    p-values are corrected (Holm) over all data sets and measures of the comparison.
    """
    from ..eval import comparison
    from ..eval.datasets import read_beir
    from ..eval.measures import parse_measures

    parsed = parse_measures(measures)
    dataset = None if data is None else read_beir(data, split)
    pairs = comparison.pair_results(
        comparison.read_system(first, dataset, parsed),
        comparison.read_system(second, dataset, parsed),
    )
    comparisons = comparison.compare(pairs, [str(m) for m in parsed], test.value, samples)
    if not comparisons:
        raise InputError(f"{first} and {second} have none of the measures {measures} in common")
    texts = {} if dataset is None else dataset.queries
    if as_json:
        for each in comparisons:
            print_json(each.to_json(changed))
    else:
        typer.echo(comparison.to_text(comparisons, changed, texts, test.value), nl=False)
