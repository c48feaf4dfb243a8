"""A judged collection: a BEIR folder (corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv) on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..types import Passage
from .files import Digest, fault, read_lines, read_objects

Qrels = dict[str, dict[str, int]]
"""Query id to document id to grade (0 = judged not relevant)."""

QRELS_SUFFIXES = (".tsv", ".txt", ".qrels")
LARGEST_GRADE = 1_000_000  # trec_eval keeps a table as long as the highest grade
BEIR_HEADER = ("query-id", "corpus-id")


@dataclass(frozen=True)
class Dataset:
    """One split of a collection, read and checked; the documents stay on disk.

    queries: id to text, the judged ones only, in the order of the qrels.
    qrels: every judged query, every judged document; all of them exist.
    documents: how many the corpus has.
    checksums: file name to sha256 of its bytes, for corpus, queries and qrels.
    source: where it came from (repository and revision, or folder), for the record.
    """

    name: str
    split: str
    folder: Path
    queries: dict[str, str]
    qrels: Qrels
    documents: int
    checksums: dict[str, str]
    source: dict[str, Any] = field(default_factory=dict)

    def passages(self) -> Iterator[Passage]:
        """The documents in corpus order. One without text or title is kept."""
        return (passage for _, passage in _read_documents(self.folder / "corpus.jsonl"))


def read_beir(folder: str | Path, split: str | None = None) -> Dataset:
    """Read a BEIR folder; the only split is taken when none is named.

    Judgements are `qrels/SPLIT.tsv` (BEIR: query, document, grade, with or without a header) or
    TREC's four columns (query, iteration, document, grade), also as `.txt` or `.qrels`.

    Raises InputError, naming file and line, for whatever is missing, broken, doubled or unknown.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: name one with corpus.jsonl and queries.jsonl")
    corpus, queries = folder / "corpus.jsonl", folder / "queries.jsonl"
    for path in (corpus, queries):
        if not path.is_file():
            raise InputError(f"{folder} is not a BEIR folder: it has no {path.name}")
    split, qrels_path = _find_split(folder, split)

    digests = {path: hashlib.sha256() for path in (corpus, queries, qrels_path)}
    documents = _unique_ids(_read_documents(corpus, digests[corpus]), corpus)
    texts = _read_queries(queries, digests[queries])
    qrels: Qrels = {}
    for line, query, document, grade in _read_judgements(qrels_path, digests[qrels_path]):
        if query not in texts:
            raise fault(qrels_path, line, f"query {query!r} is not in {queries.name}")
        if document not in documents:
            raise fault(qrels_path, line, f"document {document!r} is not in {corpus.name}")
        query_line, text = texts[query]
        if not text.strip():
            raise fault(queries, query_line, f"query {query!r} is judged but has no text")
        judged = qrels.setdefault(query, {})
        if document in judged:
            raise fault(qrels_path, line, f"{query!r} and {document!r} are judged a second time")
        judged[document] = grade
    if not qrels:
        raise InputError(f"{qrels_path} holds no judgements")
    return Dataset(
        name=folder.resolve().name,
        split=split,
        folder=folder,
        queries={query: texts[query][1] for query in qrels},
        qrels=qrels,
        documents=len(documents),
        checksums={
            path.relative_to(folder).as_posix(): digest.hexdigest()
            for path, digest in digests.items()
        },
        source={"folder": folder.resolve().name},
    )


def _find_split(folder: Path, split: str | None) -> tuple[str, Path]:
    """The split's name and its qrels file."""
    qrels = folder / "qrels"
    found: dict[str, Path] = {}
    for path in sorted(qrels.iterdir()) if qrels.is_dir() else []:
        if path.suffix in QRELS_SUFFIXES and path.is_file():
            if path.stem in found:
                raise InputError(f"{found[path.stem]} and {path} are the same split: remove one")
            found[path.stem] = path
    if not found:
        raise InputError(f"{folder} has no judgements: expected {qrels}/SPLIT.tsv")
    splits = ", ".join(found)
    if split is None:
        if len(found) > 1:
            raise InputError(f"{folder} has several splits: choose one of {splits}")
        split = next(iter(found))
    if split not in found:
        raise InputError(f"{folder} has no split {split!r}: choose one of {splits}")
    return split, found[split]


def _read_documents(path: Path, digest: Digest | None = None) -> Iterator[tuple[int, Passage]]:
    for line, row in read_objects(path, digest):
        title = _string(row, "title", path, line, default="")
        passage = Passage(_id(row, path, line), _string(row, "text", path, line), title)
        yield line, passage


def _unique_ids(documents: Iterator[tuple[int, Passage]], path: Path) -> set[str]:
    ids: set[str] = set()
    for line, passage in documents:
        if passage.id in ids:
            raise fault(path, line, f"document id {passage.id!r} appears a second time")
        ids.add(passage.id)
    if not ids:
        raise InputError(f"{path} holds no documents")
    return ids


def _read_queries(path: Path, digest: Digest) -> dict[str, tuple[int, str]]:
    """Query id to (line, text)."""
    texts: dict[str, tuple[int, str]] = {}
    for line, row in read_objects(path, digest):
        query = _id(row, path, line)
        if query in texts:
            first = texts[query][0]
            raise fault(path, line, f"query id {query!r} appears a second time (first: {first})")
        texts[query] = line, _string(row, "text", path, line)
    return texts


def _id(row: dict[str, Any], path: Path, line: int) -> str:
    key = "_id" if "_id" in row else "id"
    if isinstance(row.get(key), int) and not isinstance(row[key], bool):
        return str(row[key])
    identifier = _string(row, key, path, line) if key in row else ""
    if not identifier.strip():
        raise fault(path, line, 'no "_id"')
    return identifier


def _string(
    row: dict[str, Any], key: str, path: Path, line: int, default: str | None = None
) -> str:
    value = row.get(key)
    if value is None:
        value = default
    if not isinstance(value, str):
        raise fault(path, line, f'"{key}" must be a string, found {type(value).__name__}')
    try:
        value.encode()
    except UnicodeEncodeError:
        raise fault(path, line, f'"{key}" holds half of a surrogate pair') from None
    return value


def _read_judgements(path: Path, digest: Digest) -> Iterator[tuple[int, str, str, int]]:
    """(line, query, document, grade). The first line decides between BEIR's and TREC's columns."""
    width = None
    for line, text in read_lines(path, digest):
        columns = text.split("\t") if "\t" in text else text.split()
        columns = [column.strip() for column in columns]
        if width is None:
            width = len(columns)
            if width not in (3, 4):
                raise fault(path, line, f"{_columns(width)}, expected 3 (BEIR) or 4 (TREC)")
            if tuple(columns[:2]) == BEIR_HEADER:
                continue
        if len(columns) != width:
            raise fault(path, line, f"{_columns(len(columns))}, expected {width}")
        query, document, grade = columns[0], columns[-2], columns[-1]
        try:
            value = int(grade)
        except ValueError:
            raise fault(path, line, f"the grade {grade!r} is not a whole number") from None
        if abs(value) > LARGEST_GRADE:
            raise fault(path, line, f"the grade {grade} is beyond {LARGEST_GRADE}")
        yield line, query, document, value


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"
