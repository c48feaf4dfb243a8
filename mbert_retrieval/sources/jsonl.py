"""Read collections: files of one JSON object per line, as BEIR's corpus.jsonl."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from ..errors import InputError
from ..types import MAX_DEPTH, Passage, is_too_deep

MAX_LINE_BYTES = 64 << 20
MAX_DIGITS = 4300  # of a whole number: what Python converts
ID_KEYS = ("_id", "id")


def read_jsonl(path: Path) -> Iterator[Passage]:
    """Yield the records of a `.jsonl` file as passages. One line is in memory at a time.

    A record has `_id` or `id` (a string or a whole number), `text`, and optionally `title`. All
    other keys become metadata, and so do the keys of an object under `metadata`. Blank lines are
    skipped.

    Args:
        path: The file.

    Yields:
        One passage per record, without path and lines.

    Raises:
        InputError: For an invalid line and for an id that comes twice. The message names the file
            and the line.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "corpus.jsonl"
        >>> _ = file.write_text('{"_id": "1", "title": "Owls", "text": "Owls hunt.", "year": 1999}')
        >>> [(passage.id, passage.title, passage.metadata) for passage in read_jsonl(file)]
        [('1', 'Owls', {'year': 1999})]
    """
    line_of_id: dict[str, int] = {}
    try:
        with open(path, "rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                where = f"{path}, line {number}"
                if len(line) > MAX_LINE_BYTES:
                    raise InputError(f"{where}: longer than {MAX_LINE_BYTES >> 20} MiB")
                if not line.strip():
                    continue
                passage = _passage(_parse(line, where, number == 1), where)
                first = line_of_id.setdefault(passage.id, number)
                if first != number:
                    raise InputError(f"{where}: id {passage.id!r} was already on line {first}")
                yield passage
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _parse(line: bytes, where: str, first: bool) -> dict[str, Any]:
    try:
        text = line.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{where}: not UTF-8 text") from None
    try:
        record = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole
        )
    except RecursionError:
        raise InputError(f"{where}: nested more than {MAX_DEPTH} levels deep") from None
    except ValueError as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"{where}: not JSON ({reason})") from None
    if not isinstance(record, dict):
        raise InputError(f"{where}: not a JSON object")
    if is_too_deep(record):
        raise InputError(f"{where}: nested more than {MAX_DEPTH} levels deep")
    return _without_lone_surrogates(record) if "\\u" in text else record


def _passage(record: dict[str, Any], where: str) -> Passage:
    key = next((key for key in ID_KEYS if key in record), None)
    if key is None:
        raise InputError(f'{where}: no "_id" and no "id"')
    id = record.pop(key)
    if isinstance(id, int) and not isinstance(id, bool):
        id = str(id)
    if not isinstance(id, str) or not id:
        raise InputError(f'{where}: "{key}" must be a string or a whole number, and not empty')
    if "text" not in record:
        raise InputError(f'{where}: no "text"')
    text = record.pop("text")
    title = record.pop("title", None)
    title = "" if title is None else title
    for name, value in (("text", text), ("title", title)):
        if not isinstance(value, str):
            raise InputError(f'{where}: "{name}" must be a string, not {type(value).__name__}')
    inner = record.pop("metadata", None)
    if isinstance(inner, dict):
        record = inner | record
    elif inner is not None:
        record["metadata"] = inner
    return Passage(id=id, text=text, title=title, metadata=record)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _finite(digits: str) -> float:
    if math.isinf(number := float(digits)):
        raise ValueError(f"{digits[:20]} is too large a number")
    return number


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _without_lone_surrogates(value: Any) -> Any:
    """Replace lone surrogates, which JSON can escape but UTF-8 cannot encode, by "?"."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_without_lone_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {
            _without_lone_surrogates(key): _without_lone_surrogates(item)
            for key, item in value.items()
        }
    return value
