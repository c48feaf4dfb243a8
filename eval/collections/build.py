"""Judged collections as BEIR folders; the same packages give the same collection."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...files import sha256_of_file
from ..files import new_folder

RECORD = "collection.json"
SPLIT = "test"
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Entry:
    """A document, and a query that it answers.

    Args:
        id: Id of the document.
        text: Text of the document, without the query.
        query: Text of the query.
    """

    id: str
    text: str
    query: str


def write_collection(
    folder: Path,
    entries: Sequence[Entry],
    *,
    documents: int,
    queries: int,
    sources: dict[str, Any],
) -> tuple[int, int]:
    """Write a judged collection: corpus.jsonl, queries.jsonl, qrels/test.tsv and collection.json.

    Of documents with the same words, one is written. A query that belongs to several documents, or
    that its document contains word for word, is left out. Documents and queries are chosen by the
    hash of their ids, so that a new version of one package changes little else.

    Args:
        folder: The folder to create.
        entries: Documents and their queries.
        documents: Largest number of documents.
        queries: Largest number of queries.
        sources: Where the entries come from, for collection.json.

    Returns:
        Numbers of documents and queries written.

    Raises:
        InputError: The folder exists already, or there is no usable entry.
    """
    corpus = sorted(_without_duplicates(entries), key=lambda entry: _hash(entry.id))[:documents]
    uses = Counter(_words(entry.query) for entry in entries)
    judged = [entry for entry in corpus if _is_usable(entry, uses)][:queries]
    if not judged:
        raise InputError(f"cannot build {folder.name}: its packages contain no usable text")
    files = ("corpus.jsonl", "queries.jsonl", f"qrels/{SPLIT}.tsv")
    with new_folder(folder) as partial:
        (partial / "qrels").mkdir()
        _write_rows(partial / files[0], [{"_id": e.id, "text": e.text} for e in corpus])
        rows = [{"_id": f"q-{e.id}", "text": e.query} for e in judged]
        _write_rows(partial / files[1], rows)
        lines = [f"q-{entry.id}\t{entry.id}\t1\n" for entry in judged]
        text = "query-id\tcorpus-id\tscore\n" + "".join(lines)
        (partial / files[2]).write_text(text, encoding="utf-8")
        record = {
            **sources,
            "documents": len(corpus),
            "queries": len(judged),
            "sha256": {name: sha256_of_file(partial / name) for name in files},
        }
        (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return len(corpus), len(judged)


def _without_duplicates(entries: Sequence[Entry]) -> list[Entry]:
    """Return the first of each group of entries with the same words, in the order of their ids."""
    unique: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.id):
        unique.setdefault(hashlib.sha256(_words(entry.text).encode()).hexdigest(), entry)
    return list(unique.values())


def _is_usable(entry: Entry, uses: Counter[str]) -> bool:
    query = _words(entry.query)
    return uses[query] == 1 and f" {query} " not in f" {_words(entry.text)} "


def _words(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")
