"""A collection to a BEIR folder, always the same from the same packages."""

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
from ..files import sha256_of, whole_folder

RECORD = "collection.json"
SPLIT = "test"
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Entry:
    """A document, and the question that it answers (it does not hold it)."""

    id: str
    text: str
    question: str


def write_collection(
    folder: Path,
    entries: Sequence[Entry],
    *,
    documents: int,
    queries: int,
    sources: dict[str, Any],
) -> tuple[int, int]:
    """Write corpus.jsonl, queries.jsonl, qrels/test.tsv and collection.json; how many documents
    and queries there are.

    documents, queries: at most so many, chosen by the hash of their ids, so that a new version of
        one package changes little else. Documents with the same words are kept once. A question
        that two documents share, or that stands in its document word for word, is not asked.
    sources: what the entries were taken from, for the record.

    Raises InputError when something is at `folder`, and when there is nothing to write.
    """
    kept = sorted(_without_twins(entries), key=lambda entry: _hash(entry.id))[:documents]
    asked = Counter(_words(entry.question) for entry in entries)
    answered = [entry for entry in kept if _usable(entry, asked)][:queries]
    if not answered:
        raise InputError(f"nothing was found for {folder.name}: its packages hold no usable text")
    files = ("corpus.jsonl", "queries.jsonl", f"qrels/{SPLIT}.tsv")
    with whole_folder(folder) as partial:
        (partial / "qrels").mkdir()
        _write_rows(partial / files[0], [{"_id": e.id, "text": e.text} for e in kept])
        rows = [{"_id": f"q-{e.id}", "text": e.question} for e in answered]
        _write_rows(partial / files[1], rows)
        lines = [f"q-{entry.id}\t{entry.id}\t1\n" for entry in answered]
        text = "query-id\tcorpus-id\tscore\n" + "".join(lines)
        (partial / files[2]).write_text(text, encoding="utf-8")
        record = {
            **sources,
            "documents": len(kept),
            "queries": len(answered),
            "sha256": {name: sha256_of(partial / name) for name in files},
        }
        (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return len(kept), len(answered)


def _without_twins(entries: Sequence[Entry]) -> list[Entry]:
    """The first of those with the same words, in the order of their ids."""
    found: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.id):
        found.setdefault(hashlib.sha256(_words(entry.text).encode()).hexdigest(), entry)
    return list(found.values())


def _usable(entry: Entry, asked: Counter[str]) -> bool:
    question = _words(entry.question)
    return asked[question] == 1 and f" {question} " not in f" {_words(entry.text)} "


def _words(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")
