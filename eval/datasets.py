"""Judged collections in BEIR's layout: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..types import Passage
from .files import Digest, line_error, read_lines, read_objects

Qrels = dict[str, dict[str, int]]
"""Maps each query id to its judged documents, by id, and their grades; 0 is not relevant."""

QRELS_SUFFIXES = (".tsv", ".txt", ".qrels")
LARGEST_GRADE = 1_000_000  # trec_eval allocates a table as long as the highest grade
BEIR_HEADER = ("query-id", "corpus-id")


@dataclass(frozen=True)
class Dataset:
    """One split of a judged collection, read and checked; the documents stay on disk.

    Args:
        name: Name of the collection, for result files and tables.
        split: Name of the qrels split.
        folder: The BEIR folder.
        queries: Texts of the judged queries by id, in the order of the qrels.
        qrels: Grades by query id and document id; all of these queries and documents exist.
        documents: Number of documents in the corpus.
        checksums: SHA-256 of corpus, queries and qrels by file name, in hexadecimal.
        source: Where the collection came from (repository and revision, or folder), for records.
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
        """Iterate over the documents in the order of the corpus, empty ones included.

        Yields:
            Passages with the document's id, text and title.

        Raises:
            InputError: The corpus has changed since it was read and is broken.
        """
        for _, passage in _read_documents(self.folder / "corpus.jsonl"):
            yield passage


def read_beir(folder: str | Path, split: str | None = None) -> Dataset:
    """Read and check a judged collection in BEIR's layout (Thakur et al. 2021, arXiv 2104.08663).

    Each line of corpus.jsonl and queries.jsonl is an object with "_id" and "text"; documents may
    have a "title". Qrels have BEIR's three columns (query, document, grade; with or without a
    header) or TREC's four (query, iteration, document, grade), in a file with the suffix .tsv,
    .txt or .qrels.

    Args:
        folder: The folder with corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv.
        split: Name of the qrels split; optional if there is only one.

    Returns:
        The data set, with the judged queries in memory and the documents on disk.

    Raises:
        InputError: A file is missing, a line is broken, an id is duplicated, or the qrels name a
            query or document that does not exist; the message names file and line.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     root = Path(folder)
        ...     _ = (root / "corpus.jsonl").write_text('{"_id": "d1", "text": "a swept wing"}')
        ...     _ = (root / "queries.jsonl").write_text('{"_id": "q1", "text": "wings"}')
        ...     (root / "qrels").mkdir()
        ...     _ = (root / "qrels" / "test.tsv").write_text("q1\\td1\\t1")
        ...     dataset = read_beir(root)
        ...     dataset.split, dataset.queries, dataset.qrels, dataset.documents
        ('test', {'q1': 'wings'}, {'q1': {'d1': 1}}, 1)
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
            raise line_error(qrels_path, line, f"query {query!r} is not in {queries.name}")
        if document not in documents:
            raise line_error(qrels_path, line, f"document {document!r} is not in {corpus.name}")
        query_line, text = texts[query]
        if not text.strip():
            raise line_error(queries, query_line, f"query {query!r} is judged but has no text")
        judged = qrels.setdefault(query, {})
        if document in judged:
            raise line_error(qrels_path, line, f"{query!r} and {document!r} are judged twice")
        judged[document] = grade
    if not qrels:
        raise InputError(f"{qrels_path} contains no judgements")
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
    """Return the name of the split and its qrels file."""
    qrels = folder / "qrels"
    files: dict[str, Path] = {}
    for path in sorted(qrels.iterdir()) if qrels.is_dir() else []:
        if path.suffix in QRELS_SUFFIXES and path.is_file():
            if path.stem in files:
                raise InputError(f"{files[path.stem]} and {path} are the same split: remove one")
            files[path.stem] = path
    if not files:
        raise InputError(f"{folder} has no judgements: expected {qrels}/SPLIT.tsv")
    splits = ", ".join(files)
    if split is None:
        if len(files) > 1:
            raise InputError(f"{folder} has several splits: choose one of {splits}")
        split = next(iter(files))
    if split not in files:
        raise InputError(f"{folder} has no split {split!r}: choose one of {splits}")
    return split, files[split]


def _read_documents(path: Path, digest: Digest | None = None) -> Iterator[tuple[int, Passage]]:
    for line, row in read_objects(path, digest):
        title = _string(row, "title", path, line, default="")
        passage = Passage(_id(row, path, line), _string(row, "text", path, line), title)
        yield line, passage


def _unique_ids(documents: Iterator[tuple[int, Passage]], path: Path) -> set[str]:
    ids: set[str] = set()
    for line, passage in documents:
        if passage.id in ids:
            raise line_error(path, line, f"document id {passage.id!r} appears twice")
        ids.add(passage.id)
    if not ids:
        raise InputError(f"{path} contains no documents")
    return ids


def _read_queries(path: Path, digest: Digest) -> dict[str, tuple[int, str]]:
    """Return line and text of each query by its id."""
    texts: dict[str, tuple[int, str]] = {}
    for line, row in read_objects(path, digest):
        query = _id(row, path, line)
        if query in texts:
            first = texts[query][0]
            raise line_error(
                path, line, f"query id {query!r} appears twice (first in line {first})"
            )
        texts[query] = line, _string(row, "text", path, line)
    return texts


def _id(row: dict[str, Any], path: Path, line: int) -> str:
    key = "_id" if "_id" in row else "id"
    if isinstance(row.get(key), int) and not isinstance(row[key], bool):
        return str(row[key])
    identifier = _string(row, key, path, line) if key in row else ""
    if not identifier.strip():
        raise line_error(path, line, 'no "_id"')
    return identifier


def _string(
    row: dict[str, Any], key: str, path: Path, line: int, default: str | None = None
) -> str:
    value = row.get(key)
    if value is None:
        value = default
    if not isinstance(value, str):
        raise line_error(path, line, f'"{key}" must be a string, not {type(value).__name__}')
    try:
        value.encode()
    except UnicodeEncodeError:
        raise line_error(path, line, f'"{key}" contains half of a surrogate pair') from None
    return value


def _read_judgements(path: Path, digest: Digest) -> Iterator[tuple[int, str, str, int]]:
    """Yield line, query, document and grade; the first line tells BEIR's columns from TREC's."""
    width = None
    for line, text in read_lines(path, digest):
        columns = text.split("\t") if "\t" in text else text.split()
        columns = [column.strip() for column in columns]
        if width is None:
            width = len(columns)
            if width not in (3, 4):
                raise line_error(path, line, f"{_columns(width)}, expected 3 (BEIR) or 4 (TREC)")
            if tuple(columns[:2]) == BEIR_HEADER:
                continue
        if len(columns) != width:
            raise line_error(path, line, f"{_columns(len(columns))}, expected {width}")
        query, document, grade = columns[0], columns[-2], columns[-1]
        try:
            value = int(grade)
        except ValueError:
            raise line_error(path, line, f"the grade {grade!r} is not a whole number") from None
        if abs(value) > LARGEST_GRADE:
            raise line_error(path, line, f"the grade {grade} is beyond {LARGEST_GRADE}")
        yield line, query, document, value


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"
