"""Check what enters an index or a search. Raises InputError before anything is changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from operator import index
from types import NoneType
from typing import Any, SupportsIndex

import numpy as np

from ..errors import InputError
from ..packed import Packed
from ..types import MAX_DEPTH, Passage, is_too_deep
from .manifest import EncoderIdentity
from .recorded import check_types, stored_json
from .store import row_checksum

# (id, path, source, start_line, end_line, metadata, content_sha256, checksum, title, text)
Row = tuple[str, str | None, str | None, int | None, int | None, str, str, str, str, str]

_OPTIONAL_TEXT, _OPTIONAL_NUMBER = (str, NoneType), (int, NoneType)
# of (id, path, start_line, end_line, title, text)
PASSAGE_TYPES = (str, _OPTIONAL_TEXT, _OPTIONAL_NUMBER, _OPTIONAL_NUMBER, str, str)

MAX_K = 2**31 - 1  # results of one query


def check_list(values: Iterable[str], what: str) -> Iterable[str]:
    """Return `values`. Raises TypeError for a single string, whose characters would be taken for a
    list."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{what} must be a list of strings, not {type(values).__name__}")
    return values


def check_vectors(vectors: Packed, encoder: EncoderIdentity, names: Sequence[str]) -> Packed:
    """Return `vectors` as float32 if they fit the encoder.

    Args:
        vectors: Values (N, D) floating-point.
        encoder: The encoder of the leg.
        names: What each sequence belongs to, for messages, such as "query 1".

    Raises:
        TypeError: If `vectors` is not a `Packed`.
        InputError: If their number, dtype, shape or values are wrong.
    """
    if not isinstance(vectors, Packed):
        raise TypeError(f"vectors must be a Packed, not {type(vectors).__name__}")
    values = vectors.values
    if len(vectors) != len(names):
        raise InputError(f"{len(names)} passages came with the vectors of {len(vectors)}")
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"vectors must be floating-point numbers, not {values.dtype}")
    if len(vectors) == 0:
        return Packed(np.zeros((0, encoder.dimension), np.float32), vectors.offsets)
    if values.ndim != 2 or values.shape[1] != encoder.dimension:
        raise InputError(
            f"vectors of shape {values.shape} do not fit this index, whose encoder "
            f"{encoder.name!r} has dimension {encoder.dimension}"
        )
    lengths = vectors.lengths
    if not lengths.all():
        raise InputError(f"{names[int(np.argmin(lengths))]} has no vectors")
    if encoder.kind == "dense" and lengths.max() > 1:
        raise InputError(
            f"{names[int(np.argmax(lengths))]} has {lengths.max()} vectors, and a dense encoder "
            "makes one"
        )
    with np.errstate(over="ignore"):  # a float64 that is too large becomes inf and is refused
        values = values.astype(np.float32, copy=False)
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        bad = int(np.searchsorted(vectors.offsets, np.argmin(finite), side="right")) - 1
        raise InputError(f"{names[bad]} has a vector with NaN or infinite values")
    return Packed(values, vectors.offsets)


def content_sha256(passage: Passage) -> str:
    """Return the SHA-256, in hexadecimal, of the text that is encoded."""
    return hashlib.sha256(passage.content.encode("utf-8", "replace")).hexdigest()


def passage_row(passage: Passage, source: str | None = None) -> Row:
    """Return the columns of table `passages` after `key`. Raises InputError for invalid values."""
    if not isinstance(passage, Passage):
        raise TypeError(f"passages must be Passage objects, not {type(passage).__name__}")
    name = f"passage {passage.id!r}"
    for field in ("id", "text", "title"):
        check_text(getattr(passage, field), f"{field} of {name}")
    if passage.path is not None:
        check_text(passage.path, f"path of {name}")
    for field in ("start_line", "end_line"):
        line = getattr(passage, field)
        if line is not None and (not isinstance(line, int) or not 0 <= line < 2**63):
            raise InputError(f"{field} of {name} must be a line number, not {line!r}")
    if not isinstance(passage.metadata, dict):
        raise InputError(f"metadata of {name} must be a dictionary")
    if is_too_deep(passage.metadata):
        raise InputError(f"metadata of {name} is nested more than {MAX_DEPTH} levels deep")
    try:
        metadata = json.dumps(passage.metadata, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"metadata of {name} is not JSON: {error}") from None
    check_text(metadata, f"metadata of {name}")
    columns = (passage.id, passage.path, source, passage.start_line, passage.end_line, metadata)
    content = content_sha256(passage)
    checksum = row_checksum(*columns, content, passage.title, passage.text)
    return (*columns, content, checksum, passage.title, passage.text)


def content_of(row: Row) -> str:
    """Return the content_sha256 of a row."""
    return row[6]


def row_passage(
    id: str,
    path: str | None,
    start_line: int | None,
    end_line: int | None,
    metadata: str,
    title: str,
    text: str,
) -> Passage:
    """Return the passage of a row. Raises sqlite3.DatabaseError if it is damaged."""
    what = f"passage {id!r}"
    check_types((id, path, start_line, end_line, title, text), PASSAGE_TYPES, what)
    values = stored_json(metadata, dict, what)
    return Passage(id, text, title, path, start_line, end_line, values)


def check_k(k: SupportsIndex) -> int:
    """Return `k`, the number of results, as an int; integers of NumPy are accepted too.

    Raises:
        TypeError: If `k` is not an integer.
        InputError: If `k` is less than 1.

    Example:
        >>> check_k(10)
        10
    """
    try:
        number = index(k)
    except TypeError:
        raise TypeError(f"k must be an integer, not {k!r}") from None
    if number < 1:
        raise InputError(f"k must be at least 1, it is {number}")
    if number > MAX_K:
        raise InputError(f"k must be at most {MAX_K:,}, it is {number}")
    return number


def check_text(text: Any, what: str) -> None:
    """Raise InputError if `text` is not a string of valid Unicode. what: its name in messages."""
    if not isinstance(text, str):
        raise InputError(f"{what} must be text, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} is not valid Unicode: it contains a lone surrogate at character {error.start}"
        ) from None
