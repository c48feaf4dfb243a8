"""A suite and a retriever to result files, one a cell; what is done already is not done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError
from .locate import checksums, find, read_task
from .measures import Measure
from .peers import limit_lengths, open_encoder
from .results import Result, cell_file, read_result
from .runner import LATENCY_QUERIES, check_mode, prepare, system_name
from .runs import write_run
from .suites.spec import ClassificationTask, Suite, Task

if TYPE_CHECKING:
    from ..protocols import DocumentEncoder

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class Retriever:
    """What is measured, as it was asked for.

    encoder: see `open_encoder`; mode: None for vector, and lexical without an encoder.
    query_length, document_length: in place of the suite's.
    name: how tables call it; published: the row of the paper's table that it reproduces.
    """

    encoder: str
    head: Literal["dense", "late"] | None = None
    kind: str | None = None
    mode: str | None = None
    k: int = 100
    query_length: int | None = None
    document_length: int | None = None
    name: str | None = None
    published: str | None = None


@dataclass(frozen=True)
class Cell:
    """A measured cell. fresh: False when its file was there already. seconds: of this run."""

    task: Task
    result: Result
    path: Path
    fresh: bool
    seconds: float


def run_suite(
    suite: Suite,
    tasks: Sequence[Task],
    retriever: Retriever,
    measures: Sequence[Measure],
    *,
    results: Path,
    cache: Path,
    data_root: Path | None = None,
    run_files: Path | None = None,
    progress: Progress,
    failed: Callable[[Task, InputError], None],
) -> Iterator[Cell]:
    """Measure the retriever on each task in turn and write `results`/SUITE-TASK-SPLIT-SYSTEM.json.

    A file that is there is taken as it is if the same data, encoder, index and request made it,
    and written anew otherwise. Indexes are kept in `cache`, so an interrupted one is carried on.
    run_files: a folder for the rankings in TREC's format.
    progress: makes a progress bar of a label and a total.
    failed: called for a task whose data cannot be had or is broken; the others are still measured.

    Raises InputError for a retriever that cannot be loaded or asked like this.
    """
    encoders = _Encoders(suite, retriever)
    mode = retriever.mode or ("vector" if encoders.encoder else "lexical")
    check_mode(mode, encoders.encoder)
    kind = retriever.kind or _default_kind(encoders.encoder)
    name = retriever.name or system_name(encoders.encoder, kind, mode)
    for task in tasks:
        started = time.perf_counter()
        encoder = encoders.reading(task)
        path = results / cell_file(task.name, task.split, name, suite.name)
        request = {"mode": mode, "k": retriever.k, "drop_own_id": task.drop_own_id}
        place = cell_of(suite, task, retriever.published)
        try:
            folder = find(task, cache, data_root)
            wanted = {
                "checksums": checksums(folder, task.split),
                "encoder": encoder and encoder.fingerprint,
                "kind": kind,
                **request,
                "suite": place,
            }
            done = _finished(path, wanted, measures)
            if done is not None:
                yield Cell(task, done, path, False, time.perf_counter() - started)
                continue
            dataset = read_task(task, folder)
        except InputError as error:
            failed(task, error)
            continue
        with ExitStack() as kept:
            with progress(f"{task.name}: indexing", dataset.documents) as advance:
                system = kept.enter_context(
                    prepare(dataset, encoder, kind=kind, cache=cache / "indexes", progress=advance)
                )
            with progress(f"{task.name}: searching", len(dataset.queries)) as advance:
                result, ranking = system.evaluate(
                    mode,
                    measures,
                    k=retriever.k,
                    drop_own_id=task.drop_own_id,
                    name=name,
                    latency_queries=LATENCY_QUERIES,
                    suite=place,
                    progress=advance,
                )
        if run_files is not None:
            write_run(run_files / path.with_suffix(".trec").name, ranking, name)
        result.write(path)
        yield Cell(task, result, path, True, time.perf_counter() - started)


def cell_of(
    suite: Suite, task: Task | ClassificationTask, published: str | None = None
) -> dict[str, Any]:
    """For `Result.suite`."""
    if published is not None:
        suite.row(published)
    return {"name": suite.name, "task": task.name, "column": task.column, "published": published}


class _Encoders:
    """The retriever's encoder, reading as many tokens as the suite says for a task."""

    def __init__(self, suite: Suite, retriever: Retriever) -> None:
        self.suite, self.retriever = suite, retriever
        self.encoder = open_encoder(retriever.encoder, retriever.head)
        self.lengths: tuple[int | None, int | None] | None = None

    def reading(self, task: Task) -> DocumentEncoder | None:
        if self.encoder is None:
            return None
        asked, kind = self.retriever, self.encoder.kind
        lengths = (
            asked.query_length or (task.query_length if kind == "late" else None),
            asked.document_length or self.suite.document_length.get(kind),
        )
        if lengths != self.lengths:
            if self.lengths is not None:  # its fingerprint holds the lengths it was first read with
                self.encoder = open_encoder(asked.encoder, asked.head)
            limit_lengths(self.encoder, *lengths)
            self.lengths = lengths
        return self.encoder


def _default_kind(encoder: DocumentEncoder | None) -> str | None:
    from ..indexes.manifest import DEFAULT_ENGINES

    return None if encoder is None else DEFAULT_ENGINES[encoder.kind]


def _finished(path: Path, wanted: Mapping[str, Any], measures: Sequence[Measure]) -> Result | None:
    """The result in a file, if it was made as wanted and has the measures."""
    if not path.is_file():
        return None
    result = read_result(path)
    there = {
        "checksums": result.dataset["checksums"],
        "encoder": result.encoder and result.encoder["fingerprint"],
        "kind": result.index and result.index["kind"],
        **{key: result.search.get(key) for key in ("mode", "k", "drop_own_id")},
        "suite": result.suite,
    }
    return result if there == wanted and {*map(str, measures)} <= {*result.measures} else None


class Estimate:
    """How long the rest of a suite may take, from the documents a second so far."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.left = {task.name: task.documents for task in tasks}
        self.documents, self.seconds = 0, 0.0

    def after(self, cell: Cell) -> str:
        """For people: how many are left, and the time where the number of documents is known."""
        self.left.pop(cell.task.name, None)
        if cell.fresh:
            self.documents += cell.result.dataset["documents"]
            self.seconds += cell.seconds
        if not self.left:
            return "all done"
        text = f"{len(self.left)} to go"
        known = [documents for documents in self.left.values() if documents is not None]
        if not self.documents or len(known) < len(self.left):
            return text
        minutes = sum(known) * self.seconds / self.documents / 60
        if minutes < 120:
            return f"{text}, about {minutes:.0f} min"
        return f"{text}, about {minutes / 60:.0f} h"
