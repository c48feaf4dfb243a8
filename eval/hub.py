"""Data sets of the hub as BEIR folders: read by `datasets`, written once, checksummed.

The same code reads a local copy: a folder with the files of the repository (its `README.md` with
the configs, parquet or jsonl files).
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import InputError
from ..files import sha256_of_file
from .files import new_folder
from .suites.spec import HubData

DOCUMENT_ID = ("_id", "id", "doc_id")
QUERY_ID = ("_id", "id", "qid")
JUDGED_QUERY = ("query-id", "query_id", "qid")
JUDGED_DOCUMENT = ("corpus-id", "corpus_id", "doc_id")
GRADE = "score"  # in a table without grades, every row is relevant

RECORD = "source.json"


class Unreachable(InputError):
    """The data set does not exist or the hub does not answer: another source may have it."""


def fetch(data: HubData, folder: Path, split: str, repo: str | None = None) -> None:
    """Write a data set to a new folder: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv, source.json.

    source.json has the repository, its revision, the number of rows of each table and the SHA-256
    of each file. The folder appears only when it is complete.

    Args:
        data: The data set.
        folder: The folder to create.
        split: Name of the qrels split.
        repo: A local folder in the layout of the repository, to read instead of the hub.

    Raises:
        Unreachable: There is no such data set, or the hub does not answer.
        InputError: A column or value is missing; the message names table and row.
    """
    with new_folder(folder) as partial, TemporaryDirectory() as scratch:
        # the library's own cache tells local copies apart by name, not by content
        source = _Source(data, repo, Path(scratch) if repo else None)
        (partial / "qrels").mkdir()
        files = ("corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv")
        judged: dict[str, None] = {}
        counts = {"qrels": 0, "queries": 0, "corpus": 0}
        with open(partial / files[2], "w", encoding="utf-8", newline="\n") as out:
            out.write("query-id\tcorpus-id\tscore\n")
            for query, document, grade in _judgements(source):
                judged[query] = None
                counts["qrels"] += 1
                out.write(f"{query}\t{document}\t{grade}\n")
        with open(partial / files[1], "w", encoding="utf-8", newline="\n") as out:
            for row in _texts(source, data.queries, QUERY_ID, title=False):
                if row["_id"] in judged:
                    counts["queries"] += 1
                    out.write(json.dumps(row, ensure_ascii=False) + "\n")
        with open(partial / files[0], "w", encoding="utf-8", newline="\n") as out:
            for row in _texts(source, data.corpus, DOCUMENT_ID, title=data.title):
                counts["corpus"] += 1
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
        record = {
            "repository": repo or data.repo,
            "revision": None if repo else data.revision,
            "split": split,
            "rows": counts,
            "sha256": {name: sha256_of_file(partial / name) for name in files},
        }
        (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def check_unchanged(folder: Path) -> None:
    """Raise InputError if a file of a fetched folder has changed."""
    try:
        written = json.loads((folder / RECORD).read_text(encoding="utf-8"))["sha256"]
        changed = [
            name for name, digest in written.items() if sha256_of_file(folder / name) != digest
        ]
    except (OSError, ValueError, KeyError, AttributeError):
        raise InputError(f"{folder} is damaged: remove it to fetch it again") from None
    if changed:
        raise InputError(
            f"{folder / changed[0]} has changed since it was fetched: remove its folder"
        )


def load_table(
    repo: str, revision: str | None, config: str, split: str, cache: Path | None = None
) -> Any:
    """Load one table with the `datasets` library.

    Args:
        repo: Name of the repository, or a local folder in its layout.
        revision: Commit, branch or tag; None for a local folder.
        config: Name of the config.
        split: Name of the split; if the config has only one split, that one is taken.
        cache: Cache folder of the library; None for its own.

    Returns:
        A `datasets.Dataset`.

    Raises:
        Unreachable: The table cannot be loaded.
        InputError: The config has no such split, or `datasets` is not installed.
    """
    try:
        import datasets
    except ModuleNotFoundError:
        raise InputError(
            "reading data sets of the hub needs the datasets library: "
            "install it with pip install 'mbert-retrieval[eval]'"
        ) from None
    cache_dir = None if cache is None else str(cache)
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        with _quiet():
            splits = datasets.get_dataset_split_names(repo, config, revision=revision)
            if split not in splits:
                if len(splits) != 1:
                    raise InputError(
                        f"{repo} ({config}) has no split {split!r}: it has {', '.join(splits)}"
                    )
                split = splits[0]
            try:
                return datasets.load_dataset(
                    repo, config, split=split, revision=revision, cache_dir=cache_dir
                )
            except datasets.exceptions.DatasetGenerationError:
                # the library prepares all splits of a config at once and requires the same columns
                # in each; those of LongEmbed differ, so this split is read alone
                builder = datasets.load_dataset_builder(
                    repo, config, revision=revision, cache_dir=cache_dir
                )
                files = {split: builder.config.data_files[split]}
                return datasets.load_dataset(
                    builder.name, data_files=files, split=split, cache_dir=cache_dir
                )
    except InputError:
        raise
    except Exception as error:  # of many types, from many libraries
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Unreachable(f"cannot load {repo} ({config}): {reason}") from error


@dataclass(frozen=True)
class _Source:
    """A data set, and the local copy to read instead of the hub, with a scratch cache."""

    data: HubData
    repo: str | None
    cache: Path | None

    def rows(self, table: tuple[str, str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the rows of a table that match `where`, each with a name for error messages."""
        config, split = table
        repo = self.repo or self.data.repo
        revision = None if self.repo else self.data.revision
        loaded = load_table(repo, revision, config, split, self.cache)
        for column in self.data.where:
            if column not in loaded.column_names:
                raise InputError(f"{repo} ({config}) has no column {column!r}")
        for number, row in enumerate(loaded):
            if all(row[column] == value for column, value in self.data.where.items()):
                yield f"{repo} ({config}), row {number}", row


def _judgements(source: _Source) -> Iterator[tuple[str, str, int]]:
    for name, row in source.rows(source.data.qrels):
        grade = row.get(GRADE, 1)
        if grade is None or int(grade) != grade:
            raise InputError(f"{name}: the grade {grade!r} is not a whole number")
        query, document = _value(row, JUDGED_QUERY, name), _value(row, JUDGED_DOCUMENT, name)
        for identifier in (query, document):
            if "\t" in identifier or "\n" in identifier:
                raise InputError(f"{name}: the id {identifier!r} contains a tab or line end")
        yield query, document, int(grade)


def _texts(
    source: _Source, table: tuple[str, str], ids: tuple[str, ...], title: bool
) -> Iterator[dict[str, str]]:
    for name, row in source.rows(table):
        text = row.get("text")
        if not isinstance(text, str):
            raise InputError(f'{name}: "text" must be a string, not {type(text).__name__}')
        record = {"_id": _value(row, ids, name), "text": text}
        if title and row.get("title"):
            record["title"] = row["title"]
        yield record


def _value(row: Mapping[str, Any], columns: tuple[str, ...], name: str) -> str:
    """Return the first of the columns that has a value, as text. name: of the row, for errors."""
    for column in columns:
        if row.get(column) is not None:
            return str(row[column])
    raise InputError(f"{name}: none of the columns {', '.join(columns)} has a value")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the libraries' warnings about a hub that does not answer: one error will say it."""
    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub", "httpx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
