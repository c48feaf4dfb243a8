"""`mbert-eval`: measure retrievers on judged collections; report and compare what was measured."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import eval_collect, eval_glue, eval_report
from .console import message, new_app, print_json, progress_bar
from .console import run as run_app

if TYPE_CHECKING:
    from ..eval.benchmark import Retriever
    from ..eval.measures import Measure
    from ..eval.results import Result
    from ..eval.runner import System
    from ..eval.suites import Suite, Task

app = new_app("Measure retrievers on judged collections and benchmarks.")


class Kind(StrEnum):
    plaid = "plaid"
    flat = "flat"
    faiss = "faiss"


class Head(StrEnum):
    dense = "dense"
    late = "late"


class Mode(StrEnum):
    vector = "vector"
    lexical = "lexical"
    hybrid = "hybrid"
    late = "late"
    dense = "dense"


DEFAULT_MEASURES = "nDCG@10 R@100"

SuiteName = Annotated[
    str | None, typer.Argument(metavar="[SUITE]", help="A benchmark of mbert-eval list.")
]
Datasets = Annotated[
    str | None, typer.Option(help="Of the suite, separated by commas; by default all.")
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="BEIR folder: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv."),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        help="Folder with the suite's data sets: a BEIR folder of each, or copies of the hub's."
    ),
]
Split = Annotated[
    str | None, typer.Option("--split", help="Whose judgements; may be left out if there is one.")
]
Measures = Annotated[
    str | None,
    typer.Option(
        "--measures", help="In the names of ir_measures, separated by spaces [nDCG@10 R@100]."
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print each result as one JSON object a line on stdout.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", help="Write the full record here, with every query's values (JSON)."),
]
Results = Annotated[
    Path, typer.Option(help="Folder of a suite's result files; what is there is not run again.")
]
SystemName = Annotated[
    str | None, typer.Option("--system", help="What tables call it; made from the options if not.")
]
Reproduces = Annotated[
    str | None,
    typer.Option("--published", help="The suite's published row that this is to reproduce."),
]
Cache = Annotated[
    Path | None,
    typer.Option(help="Keep indexes, and a suite's data, in this folder, and use what is there."),
]


@app.command()
def run(
    suite: SuiteName = None,
    data: Data = None,
    data_root: DataRoot = None,
    datasets: Datasets = None,
    encoder: Annotated[
        str,
        typer.Option(
            help='Name or folder; "st:NAME" to run it in sentence-transformers; "bm25": no encoder.'
        ),
    ] = "nano",
    index: Annotated[
        Path | None, typer.Option(help="Search this index, which is there, in place of a new one.")
    ] = None,
    split: Split = None,
    head: Annotated[
        Head | None, typer.Option(help="Of an encoder with both; late unless the kind is faiss.")
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="Vector index; by default faiss if dense, plaid if late.")
    ] = None,
    mode: Annotated[
        Mode | None, typer.Option(help="By default vector, and lexical without an encoder.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Results a query.")] = 100,
    query_length: Annotated[
        int | None, typer.Option(help="Tokens read of a query, special ones included.")
    ] = None,
    document_length: Annotated[
        int | None, typer.Option(help="Tokens read of a document, special ones included.")
    ] = None,
    measures: Measures = None,
    drop_own_id: Annotated[
        bool,
        typer.Option(
            "--drop-own-id",
            help="With --data: leave out a document with the query's own id (suites know it).",
        ),
    ] = False,
    as_json: Json = False,
    run_file: Annotated[
        Path | None,
        typer.Option(help="Write the rankings here, in TREC's format; a folder for a suite."),
    ] = None,
    output: Output = None,
    results: Results = Path("results"),
    system: SystemName = None,
    published: Reproduces = None,
    cache: Cache = None,
) -> None:
    """Index a collection, or each of a benchmark's, search its judged queries, and measure.

    A suite's cell is one file in --results. Interrupted, the same command goes on where it stopped.
    """
    from ..eval.benchmark import Retriever
    from ..eval.measures import parse_measures
    from ..eval.runner import check_depth

    chosen = _suite(suite, data, datasets)
    tasks = [] if chosen is None else chosen.select(datasets)
    default = DEFAULT_MEASURES if chosen is None else chosen.measures
    wanted = parse_measures(measures or default)
    check_depth(k, wanted)
    asked = Retriever(
        encoder=encoder,
        head=head.value if head else ("dense" if kind == Kind.faiss else None),
        kind=kind.value if kind else None,
        mode=mode.value if mode else None,
        k=k,
        query_length=query_length,
        document_length=document_length,
        name=system,
        published=published,
    )
    if chosen is None:
        if data is None or data_root is not None or published is not None:
            raise InputError("name a suite (mbert-eval list), or a BEIR folder with --data")
        with ExitStack() as kept:
            prepared = _prepare_data(kept, data, split, asked, index, cache, [run_file, output])
            _measure(prepared, asked, wanted, drop_own_id, run_file, output, as_json)
    else:
        if index is not None or output is not None or drop_own_id or split is not None:
            raise InputError("--index, --output, --split and --drop-own-id go with --data alone")
        _run_suite(chosen, tasks, asked, wanted, results, cache, data_root, run_file, as_json)


@app.command()
def score(
    run_path: Annotated[Path, typer.Argument(metavar="RUN", help="Run file in TREC's format.")],
    data: Data = None,
    split: Split = None,
    suite: Annotated[
        str | None, typer.Option(help="A benchmark, with one of its data sets in --datasets.")
    ] = None,
    datasets: Datasets = None,
    data_root: DataRoot = None,
    measures: Measures = None,
    drop_own_id: Annotated[
        bool, typer.Option("--drop-own-id", help="As in run; a suite knows it.")
    ] = False,
    as_json: Json = False,
    output: Output = None,
    system: SystemName = None,
    published: Reproduces = None,
    cache: Cache = None,
) -> None:
    """Measure the rankings of a run file, whoever made it."""
    from ..eval import runner
    from ..eval.benchmark import cell_of
    from ..eval.datasets import read_beir
    from ..eval.files import make_parent
    from ..eval.locate import default_cache, locate
    from ..eval.measures import parse_measures
    from ..eval.runs import read_run

    chosen = _suite(suite, data, datasets)
    tasks = [] if chosen is None else chosen.select(datasets)
    wanted = parse_measures(measures or (chosen.measures if chosen else DEFAULT_MEASURES))
    if output is not None:
        make_parent(output)
    ranking = read_run(run_path)
    place = None
    if chosen is None:
        if data is None:
            raise InputError("name a BEIR folder with --data, or a suite with --suite")
        dataset = read_beir(data, split)
    else:
        if len(tasks) != 1:
            raise InputError(f"a run file is of one data set: name one of {chosen.name}'s")
        dataset = locate(tasks[0], cache or default_cache(), data_root)
        drop_own_id = tasks[0].drop_own_id
        place = cell_of(chosen, tasks[0], published)
    if drop_own_id:
        ranking = {
            query: {id: value for id, value in found.items() if id != query}
            for query, found in ranking.items()
        }
    result = runner.score_run(dataset, run_path, ranking, wanted, name=system, suite=place)
    _finish(result, as_json, output)


app.command("list")(eval_report.list_suites)
app.command()(eval_report.report)
app.command()(eval_report.compare)
app.command()(eval_collect.collect)
app.command()(eval_glue.glue)


def _suite(name: str | None, data: Path | None, datasets: str | None) -> Suite | None:
    from ..eval.suites import find_suite

    if name is not None and data is not None:
        raise InputError("a suite or --data, not both (a suite's local data: --data-root)")
    if name is None:
        if datasets is not None:
            raise InputError("--datasets are of a suite: name it")
        return None
    return find_suite(name)


def _prepare_data(
    kept: ExitStack,
    data: Path,
    split: str | None,
    asked: Retriever,
    index: Path | None,
    cache: Path | None,
    files: list[Path | None],
) -> System:
    """The index of a folder's documents, ready to be searched."""
    from ..eval import runner
    from ..eval.datasets import read_beir
    from ..eval.files import make_parent
    from ..eval.peers import limit_lengths, open_encoder

    for path in files:
        if path is not None:
            make_parent(path)
    dataset = read_beir(data, split)
    if index is not None:
        return runner.open_index(dataset, index)
    encoder = open_encoder(asked.encoder, asked.head)
    runner.check_mode(asked.mode or ("vector" if encoder else "lexical"), encoder)
    if encoder is not None:
        limit_lengths(encoder, asked.query_length, asked.document_length)
    with progress_bar("indexing", dataset.documents) as advance:
        system = kept.enter_context(
            runner.prepare(dataset, encoder, kind=asked.kind, cache=cache, progress=advance)
        )
    message(
        f"{dataset.documents - system.reused} documents indexed in {system.seconds:.1f} s, "
        f"{system.reused} there already"
    )
    return system


def _measure(
    system: System,
    asked: Retriever,
    measures: list[Measure],
    drop_own_id: bool,
    run_file: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    from ..eval.runner import LATENCY_QUERIES
    from ..eval.runs import write_run

    queries = len(system.dataset.queries)
    with progress_bar("searching", queries) as advance:
        result, ranking = system.evaluate(
            asked.mode or ("vector" if system.encoder else "lexical"),
            measures,
            k=asked.k,
            drop_own_id=drop_own_id,
            name=asked.name,
            latency_queries=LATENCY_QUERIES,
            progress=advance,
        )
    message(f"{queries} queries searched in {result.search['seconds']:.1f} s")
    if run_file is not None:
        write_run(run_file, ranking, result.system)
    _finish(result, as_json, output)


def _run_suite(
    suite: Suite,
    tasks: list[Task],
    asked: Retriever,
    measures: list[Measure],
    results: Path,
    cache: Path | None,
    data_root: Path | None,
    run_files: Path | None,
    as_json: bool,
) -> None:
    from ..eval.benchmark import Estimate, run_suite
    from ..eval.locate import default_cache
    from ..eval.report import suite_table

    failures: list[str] = []

    def failed(task: Task, error: InputError) -> None:
        failures.append(task.name)
        message(f"{task.name} not run: {error}")

    estimate = Estimate(tasks)
    measured = []
    for cell in run_suite(
        suite,
        tasks,
        asked,
        measures,
        results=results,
        cache=cache or default_cache(),
        data_root=data_root,
        run_files=run_files,
        progress=progress_bar,
        failed=failed,
    ):
        measured.append(cell.result)
        documents = cell.result.dataset["documents"]
        if cell.task.documents not in (None, documents):
            message(
                f"{cell.task.name} has {documents:,} documents here and {cell.task.documents:,} in "
                "the benchmark: the scores cannot be compared with others"
            )
        main = cell.result.measures[str(measures[0])]
        seconds = f"{cell.seconds:.0f} s" if cell.fresh else "there already"
        message(f"{cell.task.name}: {measures[0]} {main:.4f} ({seconds}); {estimate.after(cell)}")
        if as_json:
            print_json(cell.result.summary())
    if measured and not as_json:
        typer.echo(suite_table(suite, measured), nl=False)
    if failures:
        raise InputError(
            f"{len(failures)} of {len(tasks)} data sets were not run ({', '.join(failures)}): "
            "what is said above must be mended; the others are done"
        )


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
