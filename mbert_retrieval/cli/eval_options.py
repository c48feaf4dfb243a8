"""The options of `mbert-eval run` and `score`, in groups that belong together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import click

from ..errors import InputError
from ..types import MODES, Mode
from .options import FILE_PATH

DEFAULT_MEASURES = "nDCG@10 R@100"

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

json_results: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per result on standard output."
)


def _group(name: str, group: type[Any], *options: Decorator) -> Decorator:
    """Return a decorator that adds options, and passes their values as one object.

    name: the parameter of the command that gets the object. group: its dataclass, with a field per
    option.
    """
    names = [field.name for field in fields(group)]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_object(**values: Any) -> Any:
            own = {each: values.pop(each) for each in names}
            return command(**values, **{name: group(**own)})

        decorated: Command = with_object
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


@dataclass(frozen=True)
class DataOptions:
    """Where the documents, queries and qrels come from."""

    data: Path | None
    split: str | None
    datasets: str | None
    data_root: Path | None
    cache: Path | None

    def check_suite(self, suite: str | None) -> None:
        """Raise InputError if the options do not fit a suite, or its absence (None)."""
        if suite is not None and self.data is not None:
            raise InputError("name a suite or --data, not both (a suite's local data: --data-root)")
        if suite is None and self.datasets is not None:
            raise InputError("--datasets selects data sets of a suite: name the suite")


data_options = _group(
    "data",
    DataOptions,
    click.option(
        "--data", type=FILE_PATH, help="BEIR folder: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv."
    ),
    click.option("--split", help="Qrels split (optional if there is only one)."),
    click.option("--datasets", help="Data sets of the suite, separated by commas. Default: all."),
    click.option(
        "--data-root",
        type=FILE_PATH,
        help="Folder with local data for the suite: BEIR folders with the names of its data "
        "sets, or copies of the hub's repositories.",
    ),
    click.option(
        "--cache",
        type=FILE_PATH,
        help="Folder for indexes and fetched data, which later runs use again. Default: a "
        "temporary folder with --data, the user's cache folder with a suite.",
    ),
)


@dataclass(frozen=True)
class EncoderOptions:
    """The encoder or index to evaluate, and how it is searched."""

    encoder: str
    index: Path | None
    head: Literal["dense", "late"] | None
    kind: Literal["plaid", "flat", "faiss"] | None
    mode: Mode | None
    query_length: int | None
    document_length: int | None


encoder_options = _group(
    "encoder",
    EncoderOptions,
    click.option(
        "--encoder",
        default="nano",
        help='Name or folder; "st:NAME" runs it in sentence-transformers; "bm25" uses none.',
    ),
    click.option(
        "--index", type=FILE_PATH, help="Search this existing index instead of building one."
    ),
    click.option(
        "--head",
        type=click.Choice(["dense", "late"]),
        help="For an encoder with both heads. Default: late, or dense with faiss.",
    ),
    click.option(
        "--kind",
        type=click.Choice(["plaid", "flat", "faiss"]),
        help="Kind of vector index. Default: faiss for dense, plaid for late.",
    ),
    click.option(
        "--mode",
        type=click.Choice(MODES),
        help="What is searched. Default: vector, or lexical without an encoder.",
    ),
    click.option("--query-length", type=int, help="Tokens read of a query, special ones included."),
    click.option(
        "--document-length", type=int, help="Tokens read of a document, special ones included."
    ),
)


@dataclass(frozen=True)
class ScoringOptions:
    """What is measured, and under which name."""

    measures: str | None
    drop_own_id: bool
    name: str | None
    published: str | None


scoring_options = _group(
    "scoring",
    ScoringOptions,
    click.option(
        "--measures",
        help="Measures of ir_measures, separated by spaces. Default: those of the suite, or "
        f"{DEFAULT_MEASURES}.",
    ),
    click.option(
        "--drop-own-id",
        is_flag=True,
        help="With --data: remove a document with the id of the query from its results. "
        "Suites decide this themselves.",
    ),
    click.option("--system", "name", help="Name in tables. Default: made from the other options."),
    click.option("--published", help="Published row of the suite that this is meant to reproduce."),
)


@dataclass(frozen=True)
class OutputOptions:
    """Where the result goes."""

    as_json: bool
    output: Path | None


output_options = _group(
    "output",
    OutputOptions,
    json_results,
    click.option(
        "--output",
        type=FILE_PATH,
        help="Write the full result, with the values of each query, as JSON.",
    ),
)
