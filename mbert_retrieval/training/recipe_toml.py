"""Recipes as TOML: sections of options to typed dataclasses, and back.

A recipe is a dataclass of section dataclasses, plus its objective, which TOML files call `kind`. A
field whose TOML option has another name carries it as `metadata={"toml": NAME}`.
"""

from __future__ import annotations

import json
import tomllib
import types
import typing
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError

Options = TypeVar("Options")


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: The file.

    Returns:
        Its sections, each a dictionary of options.

    Raises:
        InputError: If the file cannot be read or is not TOML; the message names file and line.
    """
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML ({error})") from None


def override(raw: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Apply assignments of the form "section.key=value" to the sections of a recipe.

    Args:
        raw: The sections; they stay unchanged.
        assignments: The assignments. A value is read as TOML, or else taken as a plain string.

    Returns:
        The sections with the new values.

    Raises:
        InputError: If an assignment has another form.

    Example:
        >>> override({"loss": {"name": "kl"}}, ["loss.temperature=0.02", "model.base=nano"])
        {'loss': {'name': 'kl', 'temperature': 0.02}, 'model': {'base': 'nano'}}
    """
    merged = {
        name: dict(options) if isinstance(options, dict) else options
        for name, options in raw.items()
    }
    for assignment in assignments:
        target, equals, text = assignment.partition("=")
        section, dot, key = target.strip().partition(".")
        if not (equals and dot and section and key):
            raise InputError(f"{assignment!r} is not section.key=value")
        try:
            value = tomllib.loads(f"value = {text.strip()}")["value"]
        except (tomllib.TOMLDecodeError, KeyError):
            value = text.strip()
        options = merged.setdefault(section, {})
        if not isinstance(options, dict):
            raise InputError(f"{section} is not a section")
        options[key] = value
    return merged


def parse_sections(
    recipe_class: type, objective: str, raw: dict[str, Any], where: str
) -> dict[str, Any]:
    """Build each section of a recipe class from its part of `raw`.

    Args:
        recipe_class: The dataclass of the recipe.
        objective: The objective that the recipe must have.
        raw: The sections, each a dictionary of options.
        where: What error messages call the source.

    Returns:
        The section dataclasses by field name.

    Raises:
        InputError: If `raw` names another objective, or an option is unknown or has a wrong type.
    """
    if not isinstance(raw, dict):
        raise InputError(f"{where} must be a dictionary of sections, not {type(raw).__name__}")
    stated = raw.get("kind", objective)
    if stated != objective:
        raise InputError(f"{where} is a recipe of kind {stated!r}, not {objective!r}")
    raw = {name: options for name, options in raw.items() if name != "kind"}
    factories: dict[str, Any] = {f.name: f.default_factory for f in fields(recipe_class)}
    defaults = {name: make() for name, make in factories.items() if name != "objective"}
    for name, options in raw.items():
        if name not in defaults:
            raise InputError(f"{where}: unknown section {name!r}; known are {', '.join(defaults)}")
        if not isinstance(options, dict):
            raise InputError(f"{where}: {name} must be a section, [{name}]")
    return {
        name: _fill(default, raw.get(name, {}), f"{where}: {name}")
        for name, default in defaults.items()
    }


def check_types(recipe: Any) -> None:
    """Raise InputError unless every section of a recipe, and every option in it, has its type."""
    for name, expected in typing.get_type_hints(type(recipe)).items():
        if name == "objective":
            continue
        options = getattr(recipe, name)
        if not isinstance(options, expected):
            raise InputError(f"{name} must be {expected.__name__}, not {type(options).__name__}")
        hints = typing.get_type_hints(expected)
        for option in fields(options):
            value = getattr(options, option.name)
            _checked(value, hints[option.name], f"{name}.{_toml_name(option)}")


def to_toml(recipe: Any) -> str:
    """Write a recipe as the TOML file from which it can be read; unset options are left out."""
    lines = [f"kind = {json.dumps(recipe.objective)}", ""]
    for section in fields(recipe):
        if section.name == "objective":
            continue
        options = getattr(recipe, section.name)
        lines.append(f"[{section.name}]")
        for option in fields(options):
            value = getattr(options, option.name)
            if value is not None:
                lines.append(f"{_toml_name(option)} = {_toml_value(value)}")
        lines.append("")
    return "\n".join(lines)


def _toml_name(option: Field) -> str:
    return option.metadata.get("toml", option.name)


def _fill(default: Options, raw: dict[str, Any], where: str) -> Options:
    """The default options with the values of `raw` in their place."""
    attributes = {_toml_name(option): option.name for option in fields(default)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(type(default))
    values = {}
    for key, value in raw.items():
        if key not in attributes:
            raise InputError(f"{where}.{key} is unknown; known are {', '.join(attributes)}")
        attribute = attributes[key]
        values[attribute] = _checked(value, hints[attribute], f"{where}.{key}")
    return replace(default, **values)  # type: ignore[type-var]


def _checked(value: Any, hint: Any, where: str) -> Any:
    """The value, converted to the annotated type. Raises InputError if it has another type."""
    alternatives = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for alternative in alternatives:
        if alternative is type(None) and value is None:
            return None
        if typing.get_origin(alternative) is tuple and isinstance(value, list | tuple):
            inner = typing.get_args(alternative)[0]
            return tuple(_checked(item, inner, where) for item in value)
        if typing.get_origin(alternative) is dict and isinstance(value, dict):
            inner = typing.get_args(alternative)[1]
            return {str(k): _checked(v, inner, f"{where}.{k}") for k, v in value.items()}
        if alternative is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if alternative is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if alternative in (str, bool) and isinstance(value, alternative):
            return value
    names = " or ".join(
        getattr(alternative, "__name__", str(alternative))
        for alternative in alternatives
        if alternative is not type(None)
    )
    raise InputError(f"{where} must be {names}, not {value!r}")


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{_quoted(k)} = {_toml_value(v)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, float):
        return repr(value)
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes, and one more."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
