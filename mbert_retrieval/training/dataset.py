"""Training rows, checked and laid out in the columns that the losses read.

A row is one of

- a pair or triplet: `query`, `positive`, and `negative` or `negatives` (also `anchor`,
  `document`; `positive_passages` and `negative_passages` as Tevatron writes them);
- a scored list: `query`, `documents`, `scores` (also a triplet with `scores`, or with the `margin`
  of a teacher);
- the same with ids: `query_id`, `document_ids`, `scores`, looked up in other files;
- a positive judgement in the qrels of a BEIR folder, which gives a pair.
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
WRITE_ROWS = 1000  # rows per record batch of the Arrow file


@dataclass(frozen=True)
class Example:
    """One training row.

    location: File and line (or row), for error messages. documents: The positive comes first,
    unless there are scores. scores: One per document, or None.
    """

    location: str
    query: str
    documents: list[str]
    scores: list[float] | None = None


def read_examples(options: DataOptions) -> Iterator[Example]:
    """Yield every row of `options.train`. Raise InputError with file and line for a bad one."""
    if not options.train.startswith("hub:") and Path(options.train).is_dir():
        yield from _read_beir(options)
        return
    lookups = [
        None if name is None else Texts(name) for name in (options.queries, options.documents)
    ]
    numbered = {f"negative_{i}" for i in range(1, 65)}
    for location, row in read_rows(options.train):
        for ours, theirs in options.columns.items():
            if theirs not in row:
                raise InputError(
                    f"{location}: no {theirs!r}, which data.columns names for {ours!r}"
                )
            row[ours] = row[theirs]
        if numbered & row.keys():
            names = [name for name in row if name in numbered]
            row["negatives"] = [row[name] for name in names if row[name] is not None]
        yield _example(row, location, *lookups)


def _example(row: Row, location: str, queries: Texts | None, documents: Texts | None) -> Example:
    if queries is not None:
        query = queries.find(_required(row, ("query_id",), location), location)
    else:
        query = _text(_required(row, QUERY, location), "query", location)
    scores = row.get("scores")
    if documents is not None:
        ids = _required(row, ("document_ids", "documents"), location)
        texts = [documents.find(id, location) for id in _list(ids, "document_ids", location)]
    elif "documents" in row:
        listed = _list(row["documents"], "documents", location)
        texts = [_text(text, "documents", location) for text in listed]
    else:
        positive = _first(_required(row, POSITIVE, location))
        texts = [_text(positive, "positive", location)]
        name = next((name for name in NEGATIVES if row.get(name) is not None), None)
        if name is not None:
            negatives = row[name] if isinstance(row[name], list | tuple) else [row[name]]
            texts += [_text(text, name, location) for text in negatives]
        margin = row.get("margin")
        if scores is None and margin is not None:
            scores = [margin, 0.0]
    if scores is not None:
        scores = [_score(score, location) for score in _list(scores, "scores", location)]
        if len(scores) != len(texts):
            raise InputError(f"{location}: {len(scores)} scores for {len(texts)} documents")
    return Example(location, query, texts, scores)


def _required(row: Row, names: tuple[str, ...], location: str) -> Any:
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise InputError(f"{location}: no {' or '.join(map(repr, names[:2]))}")


def _first(value: Any) -> Any:
    """The first of several positives."""
    return value[0] if isinstance(value, list) and value else value


def _list(value: Any, name: str, location: str) -> list:
    """A list, or one written as a JSON string, as some data sets of the Hub have it."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, list | tuple) or not value:
        raise InputError(f"{location}: {name!r} must be a list that is not empty")
    return list(value)


def _text(value: Any, name: str, location: str) -> str:
    if isinstance(value, dict) and "text" in value:  # Tevatron's passages
        value = titled(value.get("title"), value["text"])
    if not isinstance(value, str):
        raise InputError(f"{location}: {name!r} must be a string, not {type(value).__name__}")
    if not value.strip():
        raise InputError(f"{location}: {name!r} is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{location}: {name!r} contains half of a surrogate pair") from None
    return value


def _score(value: Any, location: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{location}: scores must be finite numbers, not {value!r}")
    return float(value)


def _read_beir(options: DataOptions) -> Iterator[Example]:
    """Yield a pair per document judged relevant, in the order of the qrels."""
    from ..eval.datasets import read_beir

    dataset = read_beir(options.train, options.split)
    relevant = {
        id for judged in dataset.qrels.values() for id, grade in judged.items() if grade > 0
    }
    texts = {p.id: p.content for p in dataset.passages() if p.id in relevant}
    for query, judged in dataset.qrels.items():
        for id, grade in judged.items():
            if grade > 0:
                location = f"{options.train}, query {query!r}, document {id!r}"
                yield Example(
                    location, dataset.queries[query], [_text(texts[id], "text", location)]
                )


def build_dataset(recipe: Recipe, path: Path) -> Dataset:
    """Write the training rows of a recipe to an Arrow file, and memory-map it.

    Args:
        recipe: Names the data and the loss.
        path: The Arrow file.

    Returns:
        A dataset with columns `query`, `document_1` and so on, and `label` with the scores if the
        loss needs them.

    Raises:
        InputError: If a row is broken or does not fit the loss; the message names file and line.
    """
    options = recipe.data
    limit = None if options.held_out else options.rows
    examples = islice(_uniform(recipe), limit)
    dataset = _write(examples, path)
    if options.held_out:
        if options.held_out >= len(dataset):
            raise InputError(f"data.held_out leaves nothing of {len(dataset)} rows")
        # the order of datasets' train_test_split, so that published recipes can be repeated
        order = np.random.default_rng(options.held_out_seed).permutation(len(dataset))
        dataset = dataset.select(order[options.held_out :][: options.rows], keep_in_memory=True)
    return dataset


def _uniform(recipe: Recipe) -> Iterator[Example]:
    """Yield the examples, all with the same number of documents, and with scores where needed."""
    options, scored = recipe.data, recipe.needs_scores
    count = options.documents_per_query if scored else None
    if not scored and options.negatives is not None:
        count = options.negatives + 1
    option = "documents_per_query" if scored else "negatives"
    for example in read_examples(options):
        if scored and example.scores is None:
            raise InputError(
                f"{example.location}: no 'scores', which loss {recipe.loss.name} needs"
            )
        count = count or len(example.documents)
        if count < 2 and scored:
            raise InputError(
                f"{example.location}: loss {recipe.loss.name} needs two documents or more"
            )
        if len(example.documents) < count:
            raise InputError(
                f"{example.location}: {len(example.documents)} documents instead of {count}: "
                f"add the missing ones, or lower data.{option}"
            )
        scores = example.scores[:count] if scored and example.scores else None
        yield Example(example.location, example.query, example.documents[:count], scores)


def _write(examples: Iterator[Example], path: Path) -> Dataset:
    """Stream the rows into an Arrow file. Raises InputError if there are none."""
    import pyarrow as pa
    from datasets import Dataset

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")  # every process of a run writes it
    writer, schema = None, None
    try:
        with open(partial, "wb") as file:
            while batch := list(islice(examples, WRITE_ROWS)):
                columns: dict[str, list] = {"query": [e.query for e in batch]}
                for i in range(len(batch[0].documents)):
                    columns[f"document_{i + 1}"] = [e.documents[i] for e in batch]
                if batch[0].scores is not None:
                    columns[LABEL] = [e.scores for e in batch]
                if writer is None:
                    types = {name: pa.large_string() for name in columns if name != LABEL}
                    if LABEL in columns:
                        types[LABEL] = pa.list_(pa.float32())
                    schema = pa.schema(types)
                    writer = pa.ipc.new_stream(file, schema)
                writer.write_batch(pa.RecordBatch.from_pydict(columns, schema))
            if writer is None:
                raise InputError("the training data has no rows")
            writer.close()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return Dataset.from_file(str(path))
