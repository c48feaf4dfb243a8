"""The options of `mbert-eval run` and `score`, in groups that belong together."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from ..errors import InputError
from ..types import Mode

DEFAULT_MEASURES = "nDCG@10 R@100"

MeasureNames = Annotated[
    str, typer.Option("--measures", help="Measures of ir_measures, separated by spaces.")
]


@dataclass(frozen=True)
class DataOptions:
    """Where the documents, queries and qrels come from."""

    data: Annotated[
        Path | None,
        typer.Option(help="BEIR folder: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv."),
    ] = None
    split: Annotated[
        str | None, typer.Option(help="Qrels split (optional if there is only one).")
    ] = None
    datasets: Annotated[
        str | None, typer.Option(help="Data sets of the suite, separated by commas. Default: all.")
    ] = None
    data_root: Annotated[
        Path | None,
        typer.Option(
            help="Folder with local data for the suite: BEIR folders with the names of its data "
            "sets, or copies of the hub's repositories."
        ),
    ] = None
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder for indexes and fetched data, which later runs use again. Default: a "
            "temporary folder with --data, the user's cache folder with a suite."
        ),
    ] = None

    def check_suite(self, suite: str | None) -> None:
        """Raise InputError if the options do not fit a suite, or its absence (None)."""
        if suite is not None and self.data is not None:
            raise InputError("name a suite or --data, not both (a suite's local data: --data-root)")
        if suite is None and self.datasets is not None:
            raise InputError("--datasets selects data sets of a suite: name the suite")


@dataclass(frozen=True)
class EncoderOptions:
    """The encoder or index to evaluate, and how it is searched."""

    encoder: Annotated[
        str,
        typer.Option(
            help='Name or folder; "st:NAME" runs it in sentence-transformers; "bm25" uses none.'
        ),
    ] = "nano"
    index: Annotated[
        Path | None, typer.Option(help="Search this existing index instead of building one.")
    ] = None
    head: Annotated[
        Literal["dense", "late"] | None,
        typer.Option(help="For an encoder with both heads. Default: late, or dense with faiss."),
    ] = None
    kind: Annotated[
        Literal["plaid", "flat", "faiss"] | None,
        typer.Option(help="Kind of vector index. Default: faiss for dense, plaid for late."),
    ] = None
    mode: Annotated[
        Mode | None,
        typer.Option(help="What is searched. Default: vector, or lexical without an encoder."),
    ] = None
    query_length: Annotated[
        int | None, typer.Option(help="Tokens read of a query, special ones included.")
    ] = None
    document_length: Annotated[
        int | None, typer.Option(help="Tokens read of a document, special ones included.")
    ] = None


@dataclass(frozen=True)
class ScoringOptions:
    """What is measured, and under which name."""

    measures: Annotated[
        str | None,
        typer.Option(
            help="Measures of ir_measures, separated by spaces. Default: those of the suite, or "
            f"{DEFAULT_MEASURES}."
        ),
    ] = None
    drop_own_id: Annotated[
        bool,
        typer.Option(
            "--drop-own-id",
            help="With --data: remove a document with the id of the query from its results. "
            "Suites decide this themselves.",
        ),
    ] = False
    name: Annotated[
        str | None,
        typer.Option("--system", help="Name in tables. Default: made from the other options."),
    ] = None
    published: Annotated[
        str | None,
        typer.Option(help="Published row of the suite that this is meant to reproduce."),
    ] = None


@dataclass(frozen=True)
class OutputOptions:
    """Where the result goes."""

    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per result on standard output.")
    ] = False
    output: Annotated[
        Path | None,
        typer.Option(help="Write the full result, with the values of each query, as JSON."),
    ] = None


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option per field of each dataclass among its parameters.

    Typer makes options of the parameters of a function. The returned function has the fields as
    parameters, and calls `command` with the dataclasses.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[Any, list[str]]] = {}
    for parameter in inspect.signature(command).parameters.values():
        group = hints[parameter.name]
        if is_dataclass(group):
            types = get_type_hints(group, include_extras=True)
            options = [
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=field.default,
                    annotation=types[field.name],
                )
                for field in fields(group)
            ]
            groups[parameter.name] = group, [option.name for option in options]
            parameters += options
        else:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(kind=kind, annotation=group))

    def with_flat_options(**values: Any) -> None:
        for name, (group, names) in groups.items():
            values[name] = group(**{option: values.pop(option) for option in names})
        command(**values)

    with_flat_options.__name__ = command.__name__
    with_flat_options.__doc__ = command.__doc__
    with_flat_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_flat_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_flat_options
