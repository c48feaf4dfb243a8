"""Training rows checked and laid out in the columns that the losses read.

A row is one of

- a pair or triplet: `query`, `positive`, and `negative` or `negatives` (also `anchor`,
  `document`; `positive_passages` and `negative_passages` as Tevatron writes them);
- a scored list: `query`, `documents`, `scores` (a triplet with `scores`, or with the `margin` of a
  teacher, will do);
- the same with ids: `query_id`, `document_ids`, `scores`, looked up in other files;
- a judgement of a BEIR folder, which gives a pair.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..types import titled
from .recipe import DataOptions, Recipe
from .row_readers import Row, Texts, read_rows

if TYPE_CHECKING:
    from datasets import Dataset

QUERY = ("query", "anchor", "question")
POSITIVE = ("positive", "document", "answer", "positive_passages")
NEGATIVES = ("negatives", "negative", "negative_passages")
LABEL = "label"
ROWS = "rows.arrow"  # in the run's folder while it runs
WRITE_ROWS = 1000


@dataclass(frozen=True)
class Example:
    """One row. documents: the positive first where there are no scores. place: where it stands."""

    place: str
    query: str
    documents: list[str]
    scores: list[float] | None = None


def read_examples(options: DataOptions) -> Iterator[Example]:
    """Every row of `options.train`. Raises InputError that names file and line of a bad one."""
    if not options.train.startswith("hub:") and Path(options.train).is_dir():
        yield from _read_beir(options)
        return
    lookups = [
        None if name is None else Texts(name) for name in (options.queries, options.documents)
    ]
    numbered = {f"negative_{i}" for i in range(1, 65)}
    for place, row in read_rows(options.train):
        for ours, theirs in options.columns.items():
            if theirs not in row:
                raise InputError(f"{place}: no {theirs!r}, which data.columns names for {ours!r}")
            row[ours] = row[theirs]
        if numbered & row.keys():
            names = [name for name in row if name in numbered]
            row["negatives"] = [row[name] for name in names if row[name] is not None]
        yield _example(row, place, *lookups)


def _example(row: Row, place: str, queries: Texts | None, documents: Texts | None) -> Example:
    if queries is not None:
        query = queries.find(_need(row, ("query_id",), place), place)
    else:
        query = _text(_need(row, QUERY, place), "query", place)
    scores = row.get("scores")
    if documents is not None:
        ids = _need(row, ("document_ids", "documents"), place)
        found = [documents.find(id, place) for id in _list(ids, "document_ids", place)]
    elif "documents" in row:
        found = [
            _text(text, "documents", place) for text in _list(row["documents"], "documents", place)
        ]
    else:
        positive = _first(_need(row, POSITIVE, place))
        found = [_text(positive, "positive", place)]
        name = next((name for name in NEGATIVES if row.get(name) is not None), None)
        if name is not None:
            negatives = row[name] if isinstance(row[name], list | tuple) else [row[name]]
            found += [_text(text, name, place) for text in negatives]
        margin = row.get("margin")
        if scores is None and margin is not None:
            scores = [margin, 0.0]
    if scores is not None:
        scores = [_number(score, place) for score in _list(scores, "scores", place)]
        if len(scores) != len(found):
            raise InputError(f"{place}: {len(scores)} scores for {len(found)} documents")
    return Example(place, query, found, scores)


def _need(row: Row, names: tuple[str, ...], place: str) -> Any:
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise InputError(f"{place}: no {' or '.join(map(repr, names[:2]))}")


def _first(value: Any) -> Any:
    """The first of several positives."""
    return value[0] if isinstance(value, list) and value else value


def _list(value: Any, name: str, place: str) -> list:
    """A list, or one written as JSON into a string, as some sets of the hub have it."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, list | tuple) or not value:
        raise InputError(f"{place}: {name!r} must be a list that is not empty")
    return list(value)


def _text(value: Any, name: str, place: str) -> str:
    if isinstance(value, dict) and "text" in value:  # Tevatron's passages
        value = titled(value.get("title"), value["text"])
    if not isinstance(value, str):
        raise InputError(f"{place}: {name!r} must be a string, found {type(value).__name__}")
    if not value.strip():
        raise InputError(f"{place}: {name!r} is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{place}: {name!r} holds half of a surrogate pair") from None
    return value


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{place}: scores must be finite numbers, found {value!r}")
    return float(value)


def _read_beir(options: DataOptions) -> Iterator[Example]:
    """A pair for each document judged relevant, in the order of the judgements."""
    from ..eval.datasets import read_beir

    dataset = read_beir(options.train, options.split)
    wanted = {id for judged in dataset.qrels.values() for id, grade in judged.items() if grade > 0}
    texts = {p.id: p.content for p in dataset.passages() if p.id in wanted}
    for query, judged in dataset.qrels.items():
        for id, grade in judged.items():
            if grade > 0:
                place = f"{options.train}, query {query!r}, document {id!r}"
                yield Example(place, dataset.queries[query], [_text(texts[id], "text", place)])


def build_dataset(recipe: Recipe, folder: Path) -> Dataset:
    """The rows as a memory-mapped set in `folder`: `query`, `document_1` and so on, and `label`
    with the scores where the loss wants them.

    Raises InputError that names file and line of a row that does not fit the loss.
    """
    options = recipe.data
    limit = None if options.held_out else options.rows
    examples = islice(_fitting(recipe), limit)
    dataset = _write(examples, folder / ROWS)
    if options.held_out:
        if options.held_out >= len(dataset):
            raise InputError(f"data.held_out leaves nothing of {len(dataset)} rows")
        # the order of datasets' train_test_split, whose recipes are to be run again
        order = np.random.default_rng(options.held_out_seed).permutation(len(dataset))
        dataset = dataset.select(order[options.held_out :][: options.rows], keep_in_memory=True)
    return dataset


def _fitting(recipe: Recipe) -> Iterator[Example]:
    """The examples, each with the same number of documents, and with scores where needed."""
    options, scored = recipe.data, recipe.scored
    count = options.documents_per_query if scored else None
    if not scored and options.negatives is not None:
        count = options.negatives + 1
    option = "documents_per_query" if scored else "negatives"
    for example in read_examples(options):
        if scored and example.scores is None:
            raise InputError(f"{example.place}: no 'scores', which loss {recipe.loss.name} needs")
        count = count or len(example.documents)
        if count < 2 and scored:
            raise InputError(
                f"{example.place}: loss {recipe.loss.name} needs two documents or more"
            )
        if len(example.documents) < count:
            raise InputError(
                f"{example.place}: {len(example.documents)} documents where {count} are wanted: "
                f"complete it, or set data.{option} lower"
            )
        scores = example.scores[:count] if scored and example.scores else None
        yield Example(example.place, example.query, example.documents[:count], scores)


def _write(examples: Iterator[Example], path: Path) -> Dataset:
    """Stream the rows into an Arrow file. Raises InputError when there are none."""
    import pyarrow as pa
    from datasets import Dataset

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")  # every process of a run writes it
    writer, schema = None, None
    try:
        with open(partial, "wb") as file:
            while part := list(islice(examples, WRITE_ROWS)):
                columns: dict[str, list] = {"query": [e.query for e in part]}
                for i in range(len(part[0].documents)):
                    columns[f"document_{i + 1}"] = [e.documents[i] for e in part]
                if part[0].scores is not None:
                    columns[LABEL] = [e.scores for e in part]
                if writer is None:
                    kinds = {name: pa.large_string() for name in columns if name != LABEL}
                    if LABEL in columns:
                        kinds[LABEL] = pa.list_(pa.float32())
                    schema = pa.schema(kinds)
                    writer = pa.ipc.new_stream(file, schema)
                writer.write_batch(pa.RecordBatch.from_pydict(columns, schema))
            if writer is None:
                raise InputError("the training data holds no rows")
            writer.close()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return Dataset.from_file(str(path))
