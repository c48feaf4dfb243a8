"""Values that an index records, checked as they are read.

A checksum tells damage, but not who wrote a value: an index can come from somebody else.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from ..types import MAX_DEPTH, is_too_deep

Types = type | tuple[type, ...]


def parse_json(text: str | bytes) -> Any:
    """Return what JSON says. Raises ValueError where it is none that this program writes: not
    finite, or nested too deep."""
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (RecursionError, TypeError, UnicodeDecodeError):
        raise ValueError("is not JSON") from None
    if isinstance(value, dict | list) and is_too_deep(value):
        raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")
    return value


def stored_json(text: Any, types: Types, what: str) -> Any:
    """Return what JSON in the store says. Raises sqlite3.DatabaseError, naming `what`, where it is
    none, or of another type."""
    try:
        value = parse_json(text)
    except ValueError:
        raise sqlite3.DatabaseError(f"{what} is not what was written") from None
    check_types([value], [types], what)
    return value


def check_types(values: Iterable[Any], types: Sequence[Types], what: str) -> None:
    """Raise sqlite3.DatabaseError, naming `what`, unless the values are of these types. True is no
    number."""
    for value, expected in zip(values, types, strict=True):
        is_bool = isinstance(value, bool) and bool not in _listed(expected)
        if is_bool or not isinstance(value, expected):
            raise sqlite3.DatabaseError(f"{what} is not what was written")


def _listed(types: Types) -> tuple[type, ...]:
    return types if isinstance(types, tuple) else (types,)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not finite")


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is not finite")
    return value
