"""The folder of a training run: its recipe, log and checkpoints, and the trained model."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from ..errors import InputError
from .recipe_toml import to_toml

CHECKPOINT = re.compile(r"checkpoint-(\d+)")


class RunFolder:
    """Files of a run.

    Attributes:
        path: The folder.
        recipe: recipe.toml, the options that the run was started with.
        log: log.jsonl, one line per log entry.
        rows: rows.arrow, the training rows; present only while the run trains.
        model: The trained model.
        summary: summary.json, written at the end.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / "recipe.toml"
        self.log = self.path / "log.jsonl"
        self.rows = self.path / "rows.arrow"
        self.model = self.path / "model"
        self.summary = self.path / "summary.json"

    def record_recipe(self, recipe: Any) -> None:
        """Write recipe.toml, and create the folder if necessary.

        Raises InputError if the folder holds a run of another recipe.
        """
        text = to_toml(recipe)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if self.recipe.is_file() and self.recipe.read_text(encoding="utf-8") != text:
                raise InputError(
                    f"{self.path} holds a run of another recipe (see {self.recipe}): set "
                    "training.output to another folder, or remove this one"
                )
            partial = self.path / f".{self.recipe.name}.{os.getpid()}"
            partial.write_text(text, encoding="utf-8")
            partial.replace(self.recipe)
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror}") from None

    def last_checkpoint(self) -> str | None:
        """Return the latest complete checkpoint, if there is one, and remove incomplete ones.

        A checkpoint is complete if trainer_state.json is, which the trainer writes last.
        """
        complete: dict[int, Path] = {}
        for path in self.path.glob("checkpoint-*"):
            number = CHECKPOINT.fullmatch(path.name)
            if number is None or not path.is_dir():
                continue
            if _is_complete(path):
                complete[int(number[1])] = path
            else:
                shutil.rmtree(path, ignore_errors=True)  # other processes of the run do the same
        return str(complete[max(complete)]) if complete else None

    def append_log(self, entry: dict[str, Any]) -> None:
        """Add an entry to log.jsonl."""
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write summary.json."""
        self.summary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def _is_complete(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
