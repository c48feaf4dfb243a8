"""Evaluation of one system on the tasks of a suite; finished results are not computed again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError
from .locate import checksums, find_folder, read_task
from .measures import Measure
from .peers import limit_lengths, open_encoder
from .results import Result, cell_file, read_result
from .runner import LATENCY_QUERIES, check_mode, default_engine, prepare, system_name
from .runs import write_run
from .suites.spec import ClassificationTask, Suite, Task

if TYPE_CHECKING:
    from ..protocols import DocumentEncoder
    from ..types import Mode

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class SystemOptions:
    """The system to evaluate.

    Args:
        encoder: A name for `open_encoder`.
        head: "dense" or "late", for an encoder with both.
        engine: "plaid", "flat" or "faiss"; by default see `prepare`.
        mode: One of `types.MODES`; by default vector, or lexical without an encoder.
        query_length: Tokens read of a query; by default those of the suite or of the encoder.
        document_length: Tokens read of a document; by default those of the suite or of the encoder.
        name: Name in tables; by default made of encoder, engine and mode.
    """

    encoder: str
    head: Literal["dense", "late"] | None = None
    engine: str | None = None
    mode: str | None = None
    query_length: int | None = None
    document_length: int | None = None
    name: str | None = None

    def mode_for(self, encoder: object | None) -> Mode:
        """Return the mode, given the encoder that was loaded; raise InputError if it needs one."""
        return check_mode(self.mode or ("lexical" if encoder is None else "vector"), encoder)


@dataclass(frozen=True)
class RunOptions:
    """How a system is searched and measured.

    Args:
        measures: The measures, from `parse_measures`.
        k: Number of results per query.
        drop_own_id: Remove a document with the id of the query from its results. Tasks of suites
            decide this themselves.
        published: Name of the published row that a suite's results are meant to reproduce.
    """

    measures: Sequence[Measure]
    k: int = 100
    drop_own_id: bool = False
    published: str | None = None


@dataclass(frozen=True)
class SuiteFolders:
    """The folders of a suite's evaluation.

    Args:
        results: For the result files.
        cache: For fetched data and indexes.
        data_root: With local data, see `locate.load_dataset`.
        run_files: For run files; None writes none.
    """

    results: Path
    cache: Path
    data_root: Path | None = None
    run_files: Path | None = None


@dataclass(frozen=True)
class Cell:
    """The result of one task.

    Args:
        task: The task.
        result: Its result.
        path: The result file.
        is_new: False if the result file existed before.
        seconds: Time spent on it in this process.
    """

    task: Task
    result: Result
    path: Path
    is_new: bool
    seconds: float


def run_suite(
    suite: Suite,
    tasks: Sequence[Task],
    system: SystemOptions,
    options: RunOptions,
    folders: SuiteFolders,
    *,
    progress: Progress,
    on_error: Callable[[Task, InputError], None],
) -> Iterator[Cell]:
    """Evaluate a system on tasks of a suite and write one file SUITE-TASK-SPLIT-SYSTEM.json each.

    A result file that exists is used if the same data, encoder, index and options produced it, and
    replaced otherwise. Indexes stay in the cache, so that an interrupted one is completed.

    Args:
        suite: The suite.
        tasks: Some of its tasks, see `Suite.select`.
        system: The system to evaluate.
        options: How it is searched and measured.
        folders: Where data, indexes and results are.
        progress: Makes a progress bar (a context manager) of a label and a total.
        on_error: Called for a task whose data is missing or broken; the other tasks are evaluated.

    Yields:
        The result of each task, as soon as it is finished.

    Raises:
        InputError: The encoder cannot be loaded, or the options do not fit it.
    """
    encoders = _Encoders(suite, system)
    mode = system.mode_for(encoders.encoder)
    engine = system.engine
    if engine is None and encoders.encoder is not None:
        engine = default_engine(encoders.encoder)
    name = system.name or system_name(encoders.encoder, engine, mode)
    for task in tasks:
        started = time.perf_counter()
        encoder = encoders.for_task(task)
        path = folders.results / cell_file(task.name, task.split, name, suite.name)
        record = suite_record(suite, task, options.published)
        try:
            folder = find_folder(task, folders.cache, folders.data_root)
            origin = {
                "checksums": checksums(folder, task.split),
                "encoder": encoder and encoder.fingerprint,
                "kind": engine,
                "mode": mode,
                "k": options.k,
                "drop_own_id": task.drop_own_id,
                "suite": record,
            }
            finished = _read_finished(path, origin, options.measures)
            if finished is not None:
                yield Cell(task, finished, path, False, time.perf_counter() - started)
                continue
            dataset = read_task(task, folder)
        except InputError as error:
            on_error(task, error)
            continue
        with ExitStack() as stack:
            cache = folders.cache / "indexes"
            with progress(f"{task.name}: indexing", dataset.documents) as advance:
                prepared = stack.enter_context(
                    prepare(dataset, encoder, engine=engine, cache=cache, progress=advance)
                )
            with progress(f"{task.name}: searching", len(dataset.queries)) as advance:
                result, run = prepared.evaluate(
                    mode,
                    options.measures,
                    k=options.k,
                    drop_own_id=task.drop_own_id,
                    name=name,
                    latency_queries=LATENCY_QUERIES,
                    suite=record,
                    progress=advance,
                )
        if folders.run_files is not None:
            write_run(folders.run_files / path.with_suffix(".trec").name, run, name)
        result.write(path)
        yield Cell(task, result, path, True, time.perf_counter() - started)


def suite_record(
    suite: Suite, task: Task | ClassificationTask, published: str | None = None
) -> dict[str, Any]:
    """Return `Result.suite`; raise InputError if the suite has no such published row."""
    if published is not None:
        suite.row(published)
    return {"name": suite.name, "task": task.name, "column": task.column, "published": published}


class _Encoders:
    """The encoder of a system, with the lengths that the suite prescribes for each task."""

    def __init__(self, suite: Suite, system: SystemOptions) -> None:
        self.suite, self.system = suite, system
        self.encoder = open_encoder(system.encoder, system.head)
        self.lengths: tuple[int | None, int | None] | None = None

    def for_task(self, task: Task) -> DocumentEncoder | None:
        if self.encoder is None:
            return None
        kind = self.encoder.kind
        lengths = (
            self.system.query_length or (task.query_length if kind == "late" else None),
            self.system.document_length or self.suite.document_length.get(kind),
        )
        if lengths != self.lengths:
            if self.lengths is not None:  # the fingerprint of a used encoder includes its lengths
                self.encoder = open_encoder(self.system.encoder, self.system.head)
            limit_lengths(self.encoder, *lengths)
            self.lengths = lengths
        return self.encoder


def _read_finished(
    path: Path, origin: Mapping[str, Any], measures: Sequence[Measure]
) -> Result | None:
    """Return the result of a file if it has the same origin and the measures."""
    if not path.is_file():
        return None
    result = read_result(path)
    finished = {
        "checksums": result.dataset["checksums"],
        "encoder": result.encoder and result.encoder["fingerprint"],
        "kind": result.index and result.index["kind"],
        **{key: result.search.get(key) for key in ("mode", "k", "drop_own_id")},
        "suite": result.suite,
    }
    has_measures = {*map(str, measures)} <= {*result.measures}
    return result if finished == origin and has_measures else None


class Estimate:
    """An estimate of the time that the remaining tasks take, from the speed so far.

    Args:
        tasks: All tasks to evaluate.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.remaining = {task.name: task.documents for task in tasks}
        self.documents, self.seconds = 0, 0.0

    def after(self, cell: Cell) -> str:
        """Return how many tasks remain after this one and, if their sizes are known, how long."""
        self.remaining.pop(cell.task.name, None)
        if cell.is_new:
            self.documents += cell.result.dataset["documents"]
            self.seconds += cell.seconds
        if not self.remaining:
            return "all done"
        text = f"{len(self.remaining)} to go"
        known = [documents for documents in self.remaining.values() if documents is not None]
        if not self.documents or len(known) < len(self.remaining):
            return text
        minutes = sum(known) * self.seconds / self.documents / 60
        if minutes < 120:
            return f"{text}, about {minutes:.0f} min"
        return f"{text}, about {minutes / 60:.0f} h"
