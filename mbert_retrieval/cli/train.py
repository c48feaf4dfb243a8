"""`mbert-train`: fine-tune retrievers, pretrain networks, mine hard negatives."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .console import message, new_app, print_json, progress_bar, run
from .options import FILE_PATH

if TYPE_CHECKING:
    from ..training.trainer import Report

app = new_app(
    "mbert-train",
    "Fine-tune retrievers, pretrain networks, and mine hard negatives.\n\n"
    "A recipe is a TOML file with sections such as [model], [data] and [training]. Every option "
    "can also be set on the command line, with or without a recipe.",
)

config_argument = click.argument(
    "config",
    required=False,
    type=FILE_PATH,
    metavar="[CONFIG.toml]",
    help="The recipe. Options below override it.",
)
data_option = click.option(
    "--data",
    help="Training data: a .jsonl or .parquet file, a BEIR folder, or hub:OWNER/NAME.",
)
set_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Set any option of the recipe; can be repeated: --set loss.temperature=0.02",
)
json_option = click.option("--json", is_flag=True, help="Print one JSON object per line.")

RESUMES = "The same command resumes an interrupted run."


def _command(name: str, help: str, train: Callable[[dict[str, Any], str, bool], Path]) -> None:
    """Add a command that trains by a recipe.

    train: takes the recipe's sections, their name in error messages, and whether to print log
    entries as JSON; returns the folder of the trained model.
    """

    @app.command(name, help=help)
    @config_argument
    @click.option("--base", help="Model to start from: nano, a folder, or a Hugging Face model.")
    @data_option
    @click.option("--output", help="Folder of the run: checkpoints, log, and the trained model.")
    @click.option("--batch", type=int, help="Rows per step and device.")
    @click.option("--learning-rate", type=float, help="Peak learning rate.")
    @click.option("--epochs", type=float, help="Passes over the data.")
    @click.option("--steps", type=int, help="Number of steps, instead of --epochs.")
    @set_option
    @json_option
    def command(
        config: Path | None,
        base: str | None,
        data: str | None,
        output: str | None,
        batch: int | None,
        learning_rate: float | None,
        epochs: float | None,
        steps: int | None,
        assignments: tuple[str, ...],
        json: bool,
    ) -> None:
        options = {
            ("model", "base"): base,
            ("data", "train"): data,
            ("training", "output"): output,
            ("training", "batch"): batch,
            ("training", "learning_rate"): learning_rate,
            ("training", "epochs"): epochs,
            ("training", "steps"): steps,
        }
        raw, where = _merge(config, options, assignments)
        _finish(train(raw, where, json), json)


_command(
    "dense",
    f"Train a dense encoder: one vector per text. {RESUMES}",
    lambda *arguments: _fine_tune("dense", *arguments),
)
_command(
    "colbert",
    f"Train a late-interaction encoder (ColBERT): one vector per token. {RESUMES}",
    lambda *arguments: _fine_tune("colbert", *arguments),
)
_command(
    "mlm",
    "Train a network by masked language modelling. Pretrains a new one, adapts one to a domain, "
    f"or extends its context. {RESUMES}",
    lambda *arguments: _pretrain(*arguments),
)


@app.command()
@config_argument
@click.option("--encoder", help="Encoder to search with: nano, a folder, or a Hugging Face model.")
@data_option
@click.option("--output", help="The .jsonl file to write.")
@click.option("--negatives", type=int, help="Negatives per row.")
@set_option
@json_option
def mine(
    config: Path | None,
    encoder: str | None,
    data: str | None,
    output: str | None,
    negatives: int | None,
    assignments: tuple[str, ...],
    json: bool,
) -> None:
    """Mine hard negatives for training.

    Writes rows with passages that the encoder ranks high for a query without being its answer.
    """
    options = {
        ("mining", "encoder"): encoder,
        ("data", "train"): data,
        ("mining", "output"): output,
        ("mining", "negatives"): negatives,
    }
    raw, where = _merge(config, options, assignments)
    from ..training.mining import MineRecipe
    from ..training.mining import mine as mine_rows

    recipe = MineRecipe.parse(raw, where)
    with progress_bar("mining") as advance:
        mined = mine_rows(recipe, progress=advance)
    if json:
        print_json({"output": str(mined.output), "rows": mined.rows, "short": mined.short})
        return
    message(f"{mined.rows} rows written, {mined.short} left out for lack of candidates")
    click.echo(str(mined.output))


def _fine_tune(objective: str, raw: dict[str, Any], where: str, json: bool) -> Path:
    from ..training.recipe import Recipe

    recipe = Recipe.parse(objective, raw, where)
    _check_installed()
    from ..training.finetune import train

    with _reporting(json) as report:
        return train(recipe, report)


def _pretrain(raw: dict[str, Any], where: str, json: bool) -> Path:
    _check_installed()
    from ..training.mlm import MlmRecipe, pretrain

    recipe = MlmRecipe.parse(raw, where)
    with _reporting(json) as report:
        return pretrain(recipe, report)


def _merge(
    config: Path | None, options: dict[tuple[str, str], Any], assignments: Sequence[str]
) -> tuple[dict[str, Any], str]:
    """Sections of the config, overridden by --set and then `options`; and their name in errors."""
    from ..training.recipe_toml import override, read_toml

    raw = override(read_toml(config) if config else {}, list(assignments))
    for (section, key), value in options.items():
        if value is not None:
            raw[section] = dict(raw.get(section, {})) | {key: value}
    return raw, str(config) if config else "options"


def _check_installed() -> None:
    """Raise InputError if a package for training is missing, and silence those that are there."""
    from importlib.util import find_spec

    from ..errors import InputError

    missing = [n for n in ("sentence_transformers", "accelerate", "datasets") if not find_spec(n)]
    if missing:
        raise InputError(
            f"training needs {', '.join(missing)}: pip install 'mbert-retrieval[train]'"
        )
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


@contextmanager
def _reporting(json: bool) -> Iterator[Report]:
    """Give a function that prints log entries: to standard error, or as JSON to standard output."""
    if json:
        with _only_json() as emit:
            yield lambda step, steps, logs: emit({"step": step, "steps": steps} | logs)
        return

    def show(step: int, steps: int, logs: dict[str, Any]) -> None:
        values = ", ".join(f"{name} {value:.4g}" for name, value in logs.items() if _number(value))
        message(f"step {step} of {steps}: {values}")

    with _only_json():
        yield show


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@contextmanager
def _only_json() -> Iterator[Callable[[dict[str, Any]], None]]:
    """Redirect what libraries print to standard error; give a function that prints an object."""
    stdout, sys.stdout = sys.stdout, sys.stderr

    def emit(value: dict[str, Any]) -> None:
        sys.stdout = stdout
        try:
            print_json({k: v for k, v in value.items() if _number(v) or isinstance(v, str)})
        finally:
            sys.stdout = sys.stderr

    try:
        yield emit
    finally:
        sys.stdout = stdout


def _finish(folder: Path, json: bool) -> None:
    """Print the folder of the model, once per run."""
    from ..training.trainer import leave_process_group

    if not leave_process_group():
        return
    if json:
        print_json({"model": str(folder)})
    else:
        click.echo(str(folder))


def main() -> None:
    run(app)


if __name__ == "__main__":
    main()
