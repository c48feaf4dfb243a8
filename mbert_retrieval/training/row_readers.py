"""Read raw training rows, one at a time: from files and from data sets of the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..types import titled

if TYPE_CHECKING:
    from datasets import Dataset

HUB = re.compile(
    r"hub:(?P<name>[\w.-]+/[\w.-]+)(?:/(?P<config>[\w.-]+))?(?:@(?P<split>[\w.-]+))?", re.ASCII
)
PARQUET_ROWS = 1024  # rows of a file in memory at once

Row = dict[str, Any]


def read_rows(source: str) -> Iterator[tuple[str, Row]]:
    """Return an iterator over the rows of a file or data set.

    Args:
        source: A .jsonl or .parquet file, or "hub:OWNER/NAME[/CONFIG][@SPLIT]".

    Returns:
        (location, row) of every row. The location is for error messages: "FILE:LINE" in .jsonl,
        "FILE, row N" (from 1) elsewhere.

    Raises:
        InputError: If the source cannot be read; the message names file and line.
    """
    if source.startswith("hub:"):
        dataset = load_hub(source)
        return ((f"{source}, row {i}", row) for i, row in enumerate(dataset, start=1))
    path = Path(source)
    if path.suffix == ".parquet":
        return _read_parquet(path)
    if path.suffix in (".jsonl", ".ndjson"):
        from ..eval.files import read_objects

        return ((f"{path}:{line}", row) for line, row in read_objects(path))
    raise InputError(
        f"{source}: training rows must be in a .jsonl or .parquet file, or hub:OWNER/NAME"
    )


def load_hub(source: str) -> Dataset:
    """Load a data set of the Hub, memory-mapped. Raise InputError if that fails."""
    from datasets import load_dataset

    match = HUB.fullmatch(source)
    if match is None:
        raise InputError(f"{source!r} is not hub:OWNER/NAME[/CONFIG][@SPLIT]")
    split = match["split"] or "train"
    try:
        return load_dataset(match["name"], match["config"], split=split)
    except Exception as error:  # of many libraries: the Hub, the file system, the set's own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"cannot load {source}: {reason}") from error


def _read_parquet(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"cannot read {path}: {error}") from None


class Texts:
    """Texts by id, to look up the ids in training rows.

    Raises InputError if a row has no id or text, or an id occurs twice.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._texts: dict[str, str] = {}
        for location, row in read_rows(source):
            key = next((k for k in row if k in ("id", "_id") or k.endswith("_id")), None)
            text = row.get("text", row.get(key.removesuffix("_id")) if key else None)
            if key is None or text is None:
                others = [k for k in row if k != key]
                text = row[others[0]] if key and len(others) == 1 else None
            if key is None or not isinstance(text, str):
                raise InputError(f"{location}: no id with a text")
            if str(row[key]) in self._texts:
                raise InputError(f"{location}: the id {row[key]!r} occurs twice")
            self._texts[str(row[key])] = titled(row.get("title"), text)

    def find(self, id: Any, location: str) -> str:
        """Return the text of an id. Raise InputError that names the row if there is none."""
        text = self._texts.get(str(id))
        if text is None:
            raise InputError(f"{location}: the id {id!r} is not in {self.source}")
        return text
