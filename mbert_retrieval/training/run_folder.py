"""The folder of a run: what it was started with, and where it can go on from."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from ..errors import InputError

RECIPE = "recipe.toml"
CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def record_recipe(output: Path, text: str) -> None:
    """Write recipe.toml into a new run's folder.

    Raises InputError when the folder holds a run of another recipe.
    """
    path = output / RECIPE
    try:
        output.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise InputError(
                f"{output} holds a run of another recipe (see {path}): name another folder in "
                "training.output, or remove this one"
            )
        partial = output / f".{RECIPE}.{os.getpid()}"
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}") from None


def last_checkpoint(output: Path) -> str | None:
    """The latest whole checkpoint, if there is one. Half-written ones are removed.

    The trainer writes trainer_state.json last.
    """
    found: dict[int, Path] = {}
    for path in output.glob("checkpoint-*"):
        number = CHECKPOINT.fullmatch(path.name)
        if number is None or not path.is_dir():
            continue
        if _is_whole(path):
            found[int(number[1])] = path
        else:
            shutil.rmtree(path, ignore_errors=True)  # another process may be at it too
    return str(found[max(found)]) if found else None


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
