"""A data set of the hub as a BEIR folder: read by `datasets`, written once, checksummed.

The same code reads a local copy: a folder that has the repository's files (its `README.md` with the
configs, parquet or jsonl) is named in place of the repository.
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
from .files import sha256_of, whole_folder
from .suites.spec import HubData

DOCUMENT_ID = ("_id", "id", "doc_id")
QUERY_ID = ("_id", "id", "qid")
JUDGED_QUERY = ("query-id", "query_id", "qid")
JUDGED_DOCUMENT = ("corpus-id", "corpus_id", "doc_id")
GRADE = "score"  # a table without grades lists what is relevant

RECORD = "source.json"


class Unreachable(InputError):
    """The data set is not there, or the hub does not answer: another source may have it."""


def fetch(data: HubData, folder: Path, split: str, repo: str | None = None) -> None:
    """Write `folder` with corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv and source.json.

    repo: a local folder in the repository's layout, in place of the hub.
    source.json: the repository, its revision, how many rows each table gave, sha256 of each file.

    The folder appears whole or not at all. Raises `Unreachable` when there is no such data set, and
    InputError, naming table and row, for one without the columns or values that are needed.
    """
    with whole_folder(folder) as partial, TemporaryDirectory() as scratch:
        # the library's own cache tells local copies apart by name, not by what is in them
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
            "sha256": {name: sha256_of(partial / name) for name in files},
        }
        (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def check_unchanged(folder: Path) -> None:
    """Raises InputError when a file of a fetched folder is not what was written."""
    try:
        wanted = json.loads((folder / RECORD).read_text(encoding="utf-8"))["sha256"]
        changed = [name for name, digest in wanted.items() if sha256_of(folder / name) != digest]
    except (OSError, ValueError, KeyError, AttributeError):
        raise InputError(f"{folder} is damaged: remove it, and it is fetched again") from None
    if changed:
        raise InputError(f"{folder / changed[0]} has changed since it was fetched: remove it")


def load_table(
    repo: str, revision: str | None, config: str, split: str, cache: Path | None = None
) -> Any:
    """One table by the `datasets` library. Raises `Unreachable` when it cannot be had.

    revision: None for a local folder. A config whose only split has another name gives that one.
    cache: where the library keeps what it read, in place of its own cache.
    """
    try:
        import datasets
    except ModuleNotFoundError:
        raise InputError(
            "reading the hub's data sets needs the datasets library: "
            "pip install 'mbert-retrieval[eval]' brings it"
        ) from None
    kept = None if cache is None else str(cache)
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
                    repo, config, split=split, revision=revision, cache_dir=kept
                )
            except datasets.exceptions.DatasetGenerationError:
                # the library makes all splits of a config at once and wants the same columns in
                # each; LongEmbed's differ, so this split is read alone
                builder = datasets.load_dataset_builder(
                    repo, config, revision=revision, cache_dir=kept
                )
                files = {split: builder.config.data_files[split]}
                return datasets.load_dataset(
                    builder.name, data_files=files, split=split, cache_dir=kept
                )
    except InputError:
        raise
    except Exception as error:  # the library raises many kinds, from many libraries
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Unreachable(f"cannot load {repo} ({config}): {reason}") from error


@dataclass(frozen=True)
class _Source:
    """A data set, and the local folder that is read in place of the hub with its scratch cache."""

    data: HubData
    repo: str | None
    cache: Path | None

    def rows(self, table: tuple[str, str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(where it stands, row) of a table, those that `where` leaves out not."""
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
    for place, row in source.rows(source.data.qrels):
        grade = row.get(GRADE, 1)
        if grade is None or int(grade) != grade:
            raise InputError(f"{place}: the grade {grade!r} is not a whole number")
        query, document = _value(row, JUDGED_QUERY, place), _value(row, JUDGED_DOCUMENT, place)
        for identifier in (query, document):
            if "\t" in identifier or "\n" in identifier:
                raise InputError(f"{place}: the id {identifier!r} has a tab or line end in it")
        yield query, document, int(grade)


def _texts(
    source: _Source, table: tuple[str, str], ids: tuple[str, ...], title: bool
) -> Iterator[dict[str, str]]:
    for place, row in source.rows(table):
        text = row.get("text")
        if not isinstance(text, str):
            raise InputError(f'{place}: "text" must be a string, found {type(text).__name__}')
        record = {"_id": _value(row, ids, place), "text": text}
        if title and row.get("title"):
            record["title"] = row["title"]
        yield record


def _value(row: Mapping[str, Any], names: tuple[str, ...], place: str) -> str:
    """The first of the columns that is there, as text."""
    for name in names:
        if row.get(name) is not None:
            return str(row[name])
    raise InputError(f"{place}: none of the columns {', '.join(names)} has a value")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' warnings about a hub that does not answer: an error says it once."""
    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub", "httpx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
