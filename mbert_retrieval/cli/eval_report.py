"""`mbert-eval list`, `report` and `compare`: benchmarks, results, and differences of systems."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import InputError
from .console import print_json
from .eval_options import DEFAULT_MEASURES
from .options import FILE_PATH

measure_names = click.option(
    "--measures",
    default=DEFAULT_MEASURES,
    help="Measures of ir_measures, separated by spaces.",
)
json_objects = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line on standard output."
)


@click.command("list")
@click.argument("suite", required=False, metavar="[SUITE]", help="Describe this benchmark only.")
@json_objects
def list_suites(suite: str | None, as_json: bool) -> None:
    """List the benchmarks, or describe one: data sets, protocol and published scores."""
    from ..eval.listing import describe, overview, to_json
    from ..eval.suites import SUITES, find_suite

    if as_json:
        for each in [find_suite(suite)] if suite else SUITES.values():
            print_json(to_json(each))
    else:
        click.echo(describe(find_suite(suite)) if suite else overview(), nl=False)


@click.command()
@click.argument(
    "folders",
    nargs=-1,
    required=True,
    type=FILE_PATH,
    metavar="FOLDER...",
    help="Folders of result files (*.json).",
)
@measure_names
@click.option(
    "--suite",
    multiple=True,
    help="Show this suite only, also without results (can be repeated).",
)
@click.option(
    "--format",
    type=click.Choice(["markdown", "html", "latex"]),
    default="markdown",
    help="Format of the document.",
)
@click.option("--output", type=FILE_PATH, help="Write to this file instead of standard output.")
@json_objects
def report(
    folders: tuple[Path, ...],
    measures: str,
    suite: tuple[str, ...],
    format: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Show results as tables, suites beside their published scores; HTML has plots too."""
    from ..eval import page
    from ..eval.files import write_text_file
    from ..eval.measures import parse_measures
    from ..eval.results import read_results
    from ..eval.suites import find_suite

    names = [str(measure) for measure in parse_measures(measures)]
    suites = [find_suite(name) for name in suite]
    results = [result for folder in folders for result in read_results(folder)]
    if as_json:
        for result in results:
            print_json(result.summary())
        return
    makers = {
        "markdown": page.as_markdown,
        "html": page.as_html,
        "latex": page.as_latex,
    }
    text = makers[format](results, names, suites)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text_file(output, text)


@click.command()
@click.argument(
    "first",
    type=FILE_PATH,
    metavar="A",
    help="Result file, folder of result files, or run file.",
)
@click.argument("second", type=FILE_PATH, metavar="B", help="The same for the other system.")
@measure_names
@click.option(
    "--data",
    type=FILE_PATH,
    help="BEIR folder that judges run files and gives the texts of queries.",
)
@click.option("--split", help="Qrels split of the BEIR folder (optional if there is only one).")
@click.option(
    "--test",
    type=click.Choice(["bootstrap", "t"]),
    default="bootstrap",
    help="Paired test over queries.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=100),
    default=10_000,
    help="Number of bootstrap samples.",
)
@click.option(
    "--changed",
    type=click.IntRange(min=0),
    default=5,
    help="How many of the most changed queries to show.",
)
@json_objects
def compare(
    first: Path,
    second: Path,
    measures: str,
    data: Path | None,
    split: str | None,
    test: str,
    samples: int,
    changed: int,
    as_json: bool,
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
    comparisons = comparison.compare(pairs, [str(m) for m in parsed], test, samples)
    if not comparisons:
        raise InputError(f"{first} and {second} have none of the measures {measures} in common")
    texts = {} if dataset is None else dataset.queries
    if as_json:
        for each in comparisons:
            print_json(each.to_json(changed))
    else:
        click.echo(comparison.to_text(comparisons, changed, texts, test), nl=False)
