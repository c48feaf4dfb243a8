"""`mbert-eval`: measure retrievers on judged collections, report and compare the results."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError
from . import eval_collect, eval_glue, eval_report
from .console import message, new_app, print_json, progress_bar
from .console import run as run_app
from .eval_options import (
    DEFAULT_MEASURES,
    DataOptions,
    EncoderOptions,
    OutputOptions,
    ScoringOptions,
    data_options,
    encoder_options,
    output_options,
    scoring_options,
)
from .options import FILE_PATH

if TYPE_CHECKING:
    from ..eval.benchmark import RunOptions, SuiteFolders, SystemOptions
    from ..eval.results import Result
    from ..eval.runner import System
    from ..eval.suites import Suite, Task

app = new_app("mbert-eval", "Measure retrievers on judged collections and benchmarks.")


@app.command()
@data_options
@encoder_options
@scoring_options
@output_options
@click.argument(
    "suite", required=False, metavar="[SUITE]", help="A benchmark that mbert-eval list shows."
)
@click.option("-k", type=click.IntRange(min=1), default=100, help="Results per query.")
@click.option(
    "--run-file",
    type=FILE_PATH,
    help="Write the rankings in TREC's format; with a suite, to this folder.",
)
@click.option(
    "--results",
    type=FILE_PATH,
    default=Path("results"),
    help="Folder of a suite's result files; data sets with a result are not run again.",
)
def run(
    data: DataOptions,
    encoder: EncoderOptions,
    scoring: ScoringOptions,
    output: OutputOptions,
    suite: str | None,
    k: int,
    run_file: Path | None,
    results: Path,
) -> None:
    """Index a judged collection, or those of a suite, search the judged queries, and measure.

    With a suite, each data set gives one file in --results; if the command is interrupted, run it
    again to continue.
    """
    from ..eval.benchmark import RunOptions, SuiteFolders, SystemOptions
    from ..eval.locate import default_cache
    from ..eval.measures import parse_measures
    from ..eval.runner import check_depth

    chosen = _find_suite(suite, data)
    tasks = [] if chosen is None else chosen.select(data.datasets)
    default = DEFAULT_MEASURES if chosen is None else chosen.measures
    options = RunOptions(
        parse_measures(scoring.measures or default), k, scoring.drop_own_id, scoring.published
    )
    check_depth(k, options.measures)
    system = SystemOptions(
        encoder=encoder.encoder,
        head=encoder.head or ("dense" if encoder.kind == "faiss" else None),
        engine=encoder.kind,
        mode=encoder.mode,
        query_length=encoder.query_length,
        document_length=encoder.document_length,
        name=scoring.name,
    )
    if chosen is None:
        if data.data is None or data.data_root is not None or scoring.published is not None:
            raise InputError("name a suite (mbert-eval list), or a BEIR folder with --data")
        with ExitStack() as stack:
            prepared = _prepare(stack, data, system, encoder.index, [run_file, output.output])
            _measure(prepared, system, options, run_file, output)
    else:
        if encoder.index or output.output or scoring.drop_own_id or data.split is not None:
            raise InputError("use --index, --output, --split and --drop-own-id with --data only")
        folders = SuiteFolders(results, data.cache or default_cache(), data.data_root, run_file)
        _run_suite(chosen, tasks, system, options, folders, output.as_json)


@app.command()
@data_options
@scoring_options
@output_options
@click.argument("run_path", type=FILE_PATH, metavar="RUN", help="Run file in TREC's format.")
@click.option("--suite", help="A benchmark; name one of its data sets with --datasets.")
def score(
    data: DataOptions,
    scoring: ScoringOptions,
    output: OutputOptions,
    run_path: Path,
    suite: str | None,
) -> None:
    """Measure the rankings of a run file of any system."""
    from ..eval import runner
    from ..eval.benchmark import suite_record
    from ..eval.datasets import read_beir
    from ..eval.files import make_parent
    from ..eval.locate import default_cache, load_dataset
    from ..eval.measures import parse_measures
    from ..eval.runs import read_run

    chosen = _find_suite(suite, data)
    tasks = [] if chosen is None else chosen.select(data.datasets)
    measures = parse_measures(scoring.measures or (chosen.measures if chosen else DEFAULT_MEASURES))
    if output.output is not None:
        make_parent(output.output)
    ranking = read_run(run_path)
    drop_own_id, record = scoring.drop_own_id, None
    if chosen is None:
        if data.data is None:
            raise InputError("name a BEIR folder with --data, or a suite with --suite")
        dataset = read_beir(data.data, data.split)
    else:
        if len(tasks) != 1:
            raise InputError(
                f"a run file belongs to one data set: name one of {chosen.name} with --datasets"
            )
        dataset = load_dataset(tasks[0], data.cache or default_cache(), data.data_root)
        drop_own_id = tasks[0].drop_own_id
        record = suite_record(chosen, tasks[0], scoring.published)
    if drop_own_id:
        ranking = {
            query: {id: value for id, value in documents.items() if id != query}
            for query, documents in ranking.items()
        }
    result = runner.score_run(dataset, run_path, ranking, measures, name=scoring.name, suite=record)
    _print_result(result, output)


app.add_command(eval_report.list_suites)
app.add_command(eval_report.report)
app.add_command(eval_report.compare)
app.add_command(eval_collect.collect)
app.add_command(eval_glue.glue)


def _find_suite(name: str | None, data: DataOptions) -> Suite | None:
    from ..eval.suites import find_suite

    data.check_suite(name)
    return None if name is None else find_suite(name)


def _prepare(
    stack: ExitStack,
    data: DataOptions,
    options: SystemOptions,
    index: Path | None,
    outputs: list[Path | None],
) -> System:
    """Return the index of a BEIR folder's documents, ready to be searched."""
    from ..eval import runner
    from ..eval.datasets import read_beir
    from ..eval.files import make_parent
    from ..eval.peers import limit_lengths, open_encoder

    assert data.data is not None
    for path in outputs:
        if path is not None:
            make_parent(path)
    dataset = read_beir(data.data, data.split)
    if index is not None:
        return runner.open_index(dataset, index)
    encoder = open_encoder(options.encoder, options.head)
    options.mode_for(encoder)
    if encoder is not None:
        limit_lengths(encoder, options.query_length, options.document_length)
    with progress_bar("indexing", dataset.documents) as advance:
        prepared = runner.prepare(
            dataset, encoder, engine=options.engine, cache=data.cache, progress=advance
        )
        system = stack.enter_context(prepared)
    message(
        f"{dataset.documents - system.reused} documents indexed in {system.seconds:.1f} s, "
        f"{system.reused} indexed before"
    )
    return system


def _measure(
    system: System,
    options: SystemOptions,
    run: RunOptions,
    run_file: Path | None,
    output: OutputOptions,
) -> None:
    from ..eval.runner import LATENCY_QUERIES
    from ..eval.runs import write_run

    queries = len(system.dataset.queries)
    with progress_bar("searching", queries) as advance:
        result, ranking = system.evaluate(
            options.mode_for(system.encoder),
            run.measures,
            k=run.k,
            drop_own_id=run.drop_own_id,
            name=options.name,
            latency_queries=LATENCY_QUERIES,
            progress=advance,
        )
    message(f"{queries} queries searched in {result.search['seconds']:.1f} s")
    if run_file is not None:
        write_run(run_file, ranking, result.system)
    _print_result(result, output)


def _run_suite(
    suite: Suite,
    tasks: list[Task],
    system: SystemOptions,
    options: RunOptions,
    folders: SuiteFolders,
    as_json: bool,
) -> None:
    from ..eval.benchmark import Estimate, run_suite
    from ..eval.report import suite_table

    failures: list[str] = []

    def on_error(task: Task, error: InputError) -> None:
        failures.append(task.name)
        message(f"{task.name} not run: {error}")

    estimate = Estimate(tasks)
    main_measure = str(options.measures[0])
    results = []
    for cell in run_suite(
        suite, tasks, system, options, folders, progress=progress_bar, on_error=on_error
    ):
        results.append(cell.result)
        documents = cell.result.dataset["documents"]
        if cell.task.documents not in (None, documents):
            message(
                f"{cell.task.name} has {documents:,} documents here and {cell.task.documents:,} in "
                "the benchmark: the scores cannot be compared with others"
            )
        value = cell.result.measures[main_measure]
        seconds = f"{cell.seconds:.0f} s" if cell.is_new else "run before"
        message(f"{cell.task.name}: {main_measure} {value:.4f} ({seconds}); {estimate.after(cell)}")
        if as_json:
            print_json(cell.result.summary())
    if results and not as_json:
        click.echo(suite_table(suite, results), nl=False)
    if failures:
        raise InputError(
            f"{len(failures)} of {len(tasks)} data sets were not run ({', '.join(failures)}): "
            "correct the errors above and run the command again; the others are finished"
        )


def _print_result(result: Result, output: OutputOptions) -> None:
    """Write and print a result."""
    from ..eval.report import markdown_table

    if output.output is not None:
        result.write(output.output)
    without = result.search["queries_without_results"]
    if without:
        queries = result.dataset["queries"]
        message(f"{without} of {queries} queries have no results and count as zero")
    if output.as_json:
        print_json(result.summary())
    else:
        click.echo(markdown_table([result], list(result.measures)), nl=False)


def main() -> None:
    run_app(app)


if __name__ == "__main__":
    main()
