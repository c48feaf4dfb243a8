"""`mbert-eval`: measure an encoder, BM25, or a run file on a judged collection."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import message, new_app, print_json, progress_bar
from .console import run as run_app

if TYPE_CHECKING:
    from ..eval.results import Result

app = new_app("Measure an encoder, BM25, or a run file on a judged collection.")


class Kind(StrEnum):
    plaid = "plaid"
    flat = "flat"
    faiss = "faiss"


class Mode(StrEnum):
    vector = "vector"
    lexical = "lexical"
    hybrid = "hybrid"


Data = Annotated[
    Path,
    typer.Option("--data", help="BEIR folder: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv."),
]
Split = Annotated[
    str | None, typer.Option("--split", help="Whose judgements; may be left out if there is one.")
]
Measures = Annotated[
    str, typer.Option("--measures", help="In the names of ir_measures, separated by spaces.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON object a line on stdout.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", help="Write the full record here, with every query's values (JSON)."),
]
SystemName = Annotated[
    str | None, typer.Option("--system", help="What tables call it; made from the options if not.")
]


@app.command()
def run(
    data: Data,
    encoder: Annotated[
        str,
        typer.Option(help='Name or folder; "st:FOLDER" for sentence-transformers; "none": BM25.'),
    ] = "nano",
    split: Split = None,
    kind: Annotated[
        Kind | None, typer.Option(help="Vector index; by default faiss if dense, plaid if late.")
    ] = None,
    mode: Annotated[
        Mode | None, typer.Option(help="By default vector, and lexical without an encoder.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Results a query.")] = 100,
    measures: Measures = "nDCG@10 R@100",
    drop_own_id: Annotated[
        bool,
        typer.Option(
            "--drop-own-id",
            help="Leave out a document with the query's own id (for queries that are documents).",
        ),
    ] = False,
    as_json: Json = False,
    run_file: Annotated[
        Path | None, typer.Option(help="Write the rankings here, in TREC's format.")
    ] = None,
    output: Output = None,
    system: SystemName = None,
    cache: Annotated[
        Path | None, typer.Option(help="Keep the index in this folder, and use one kept there.")
    ] = None,
) -> None:
    """Index a collection, search its judged queries, and measure the rankings.

    A document with a query's own id is kept unless --drop-own-id is given.
    """
    from ..eval import datasets, runner
    from ..eval.files import make_parent
    from ..eval.measures import parse_measures
    from ..eval.peers import open_encoder
    from ..eval.runs import write_run

    wanted = parse_measures(measures)
    runner.check_depth(k, wanted)
    for path in (run_file, output):
        if path is not None:
            make_parent(path)
    dataset = datasets.read_beir(data, split)
    loaded = open_encoder(encoder, "dense" if kind == Kind.faiss else None)
    mode_name = mode.value if mode else ("vector" if loaded else "lexical")
    runner.check_mode(mode_name, loaded)
    with ExitStack() as kept:
        with progress_bar("indexing", dataset.documents) as advance:
            prepared = runner.prepare(dataset, loaded, kind=kind, cache=cache, progress=advance)
            indexed = kept.enter_context(prepared)
        with progress_bar("searching", len(dataset.queries)) as advance:
            result, ranking = indexed.evaluate(
                mode_name, wanted, k=k, drop_own_id=drop_own_id, name=system, progress=advance
            )
    message(
        f"{dataset.documents - indexed.reused} documents indexed in {indexed.seconds:.1f} s, "
        f"{indexed.reused} there already; "
        f"{len(dataset.queries)} queries searched in {result.search['seconds']:.1f} s"
    )
    if run_file is not None:
        write_run(run_file, ranking, result.system)
    _finish(result, as_json, output)


@app.command()
def score(
    run_path: Annotated[Path, typer.Argument(metavar="RUN", help="Run file in TREC's format.")],
    data: Data,
    split: Split = None,
    measures: Measures = "nDCG@10 R@100",
    as_json: Json = False,
    output: Output = None,
) -> None:
    """Measure the rankings of a run file, whoever made it."""
    from ..eval import datasets, runner
    from ..eval.files import make_parent
    from ..eval.measures import parse_measures
    from ..eval.runs import read_run

    wanted = parse_measures(measures)
    if output is not None:
        make_parent(output)
    ranking = read_run(run_path)
    dataset = datasets.read_beir(data, split)
    _finish(runner.score_run(dataset, run_path, ranking, wanted), as_json, output)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of result files (*.json).")],
    measures: Measures = "nDCG@10 R@100",
    as_json: Json = False,
) -> None:
    """Print the results of a folder as a Markdown table: systems by datasets."""
    from ..eval.measures import parse_measures
    from ..eval.report import markdown_table
    from ..eval.results import read_results

    wanted = parse_measures(measures)
    results = read_results(folder)
    if as_json:
        for result in results:
            print_json(result.summary())
    else:
        typer.echo(markdown_table(results, [str(measure) for measure in wanted]), nl=False)


def _finish(result: Result, as_json: bool, output: Path | None) -> None:
    """Write and print a result."""
    from ..eval.report import markdown_table

    if output is not None:
        result.write(output)
    without = result.search["queries_without_results"]
    if without:
        queries = result.dataset["queries"]
        message(f"{without} of {queries} queries found nothing and count as zero")
    if as_json:
        print_json(result.summary())
    else:
        typer.echo(markdown_table([result], list(result.measures)), nl=False)


def main() -> None:
    run_app(app)


if __name__ == "__main__":
    main()
