"""Settings of a JSON file whose values may have any type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..backbone.config import shown
from ..backbone.files import read_json
from ..errors import InputError

MOST = 2**31 - 1  # of sizes and lengths


@dataclass(frozen=True)
class Settings:
    """A JSON object and the file that it is from. A setting that is null counts as absent.

    Each method returns a setting, or `default` where it is absent, and raises an InputError that
    names the file for a value of another type.
    """

    path: Path
    values: dict[str, Any]

    @classmethod
    def read(cls, path: Path, optional: bool = False) -> Settings:
        """Read a file. optional: A file that is missing has no settings.

        Raises InputError where it is missing, or no JSON object.
        """
        return cls(path, {} if optional and not path.is_file() else read_json(path))

    def integer(self, name: str, default: int | None = None, most: int | None = MOST) -> int | None:
        """A positive integer; `most` may be None for any."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._wrong(name, "a positive integer")
        if most is not None and value > most:
            raise self._wrong(name, f"{most:,} at most")
        return value

    def required_integer(self, name: str) -> int:
        """A positive integer that must be there."""
        value = self.integer(name)
        if value is None:
            raise InputError(f"{self.path}: {name} is missing")
        return value

    def factor(self, name: str, default: float) -> float:
        """A finite number of at least 1."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < MOST:
            raise self._wrong(name, "a number from 1 up")
        return float(value)

    def boolean(self, name: str, default: bool = False) -> bool:
        """True or false; 1 and 0 as well."""
        value = self.values.get(name)
        if value is None:
            return default
        if value not in (True, False):
            raise self._wrong(name, "true or false")
        return bool(value)

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def texts(self, name: str) -> list[str] | None:
        """A list of strings; None where it is absent."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self._wrong(name, "a list of strings")
        return value

    def table(self, name: str) -> Settings:
        """An object; empty where it is absent."""
        value = self.values.get(name)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self._wrong(name, "an object")
        return Settings(self.path, value)

    def _wrong(self, name: str, wanted: str) -> InputError:
        return InputError(f"{self.path}: {name} must be {wanted}, not {shown(self.values[name])}")
