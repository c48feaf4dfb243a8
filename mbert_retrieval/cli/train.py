"""`mbert-train`: fine-tune retrievers, pretrain networks, mine hard negatives."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import message, new_app, print_json, progress_bar, run

app = new_app("Fine-tune retrievers, pretrain networks, and mine hard negatives.")

Config = Annotated[
    Path | None, typer.Argument(metavar="[CONFIG.toml]", help="The recipe; flags go over it.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Any option of the recipe, as often as needed: --set loss.temperature=0.02",
    ),
]
Base = Annotated[str | None, typer.Option("--base", help="nano, a folder, or a model of the hub.")]
Data = Annotated[
    str | None,
    typer.Option("--data", help="A .jsonl or .parquet file, a BEIR folder, or hub:OWNER/NAME."),
]
Output = Annotated[str | None, typer.Option("--output", help="Folder of the run.")]
Batch = Annotated[int | None, typer.Option("--batch", help="Rows a step and device.")]
Rate = Annotated[float | None, typer.Option("--learning-rate", help="The highest one.")]
Epochs = Annotated[float | None, typer.Option("--epochs", help="Times through the data.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Steps in all, instead of epochs.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object a line and nothing else.")
]


def _command(name: str, help: str, train: Callable[[dict[str, Any], str, bool], Path]) -> None:
    """Add a command that trains by a recipe. train: takes the recipe's sections, what to call it in
    messages, and whether steps are told as JSON; gives the model's folder."""

    @app.command(name, help=help)
    def command(
        config: Config = None,
        base: Base = None,
        data: Data = None,
        output: Output = None,
        batch: Batch = None,
        learning_rate: Rate = None,
        epochs: Epochs = None,
        steps: Steps = None,
        options: Set = None,
        json: AsJson = False,
    ) -> None:
        flags = {
            ("model", "base"): base,
            ("data", "train"): data,
            ("training", "output"): output,
            ("training", "batch"): batch,
            ("training", "learning_rate"): learning_rate,
            ("training", "epochs"): epochs,
            ("training", "steps"): steps,
        }
        raw, where = _merged(config, flags, options)
        _finish(train(raw, where, json), json)


_command(
    "dense",
    "Train a dense encoder. The same command goes on after an interruption.",
    lambda *given: _retriever("dense", *given),
)
_command(
    "colbert",
    "Train a late-interaction encoder. The same command goes on after an interruption.",
    lambda *given: _retriever("colbert", *given),
)
_command(
    "mlm",
    "Train a network by masked language modelling: from nothing, on a domain, to more context.",
    lambda *given: _pretraining(*given),
)


@app.command()
def mine(
    config: Config = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="nano, a folder, or a model of the hub.")
    ] = None,
    data: Data = None,
    output: Annotated[str | None, typer.Option("--output", help="The .jsonl to write.")] = None,
    negatives: Annotated[int | None, typer.Option("--negatives", help="Of each row.")] = None,
    options: Set = None,
    json: AsJson = False,
) -> None:
    """Write training rows with hard negatives, found by an encoder's own index."""
    flags = {
        ("mining", "encoder"): encoder,
        ("data", "train"): data,
        ("mining", "output"): output,
        ("mining", "negatives"): negatives,
    }
    raw, where = _merged(config, flags, options)
    from ..training.mining import MineRecipe
    from ..training.mining import mine as mine_rows

    recipe = MineRecipe.parse(raw, where)
    with progress_bar("mining") as advance:
        mined = mine_rows(recipe, progress=advance)
    if json:
        print_json({"output": str(mined.output), "rows": mined.rows, "short": mined.short})
        return
    message(f"{mined.rows} rows, {mined.short} left out for too few candidates")
    typer.echo(str(mined.output))


def _retriever(kind: str, raw: dict[str, Any], where: str, json: bool) -> Path:
    from ..training.recipe import parse

    recipe = parse(kind, raw, where)
    _check_installed()
    from ..training.finetune import train

    with _reporting(json) as report:
        return train(recipe, report)


def _pretraining(raw: dict[str, Any], where: str, json: bool) -> Path:
    _check_installed()
    from ..training.mlm import MlmRecipe, pretrain

    recipe = MlmRecipe.parse(raw, where)
    with _reporting(json) as report:
        return pretrain(recipe, report)


def _merged(
    config: Path | None, flags: dict[tuple[str, str], Any], options: list[str] | None
) -> tuple[dict[str, Any], str]:
    """The sections of the config with --set and then the flags over it, and what to call it."""
    from ..training.recipe import override, read_toml

    raw = override(read_toml(config) if config else {}, options or [])
    for (section, key), value in flags.items():
        if value is not None:
            raw[section] = dict(raw.get(section, {})) | {key: value}
    return raw, str(config) if config else "options"


def _check_installed() -> None:
    """Raises InputError when the packages that train are not there. Before they load, they are told
    to be quiet."""
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
def _reporting(json: bool):  # type: ignore[no-untyped-def]
    """A function for steps and what they logged, which go to standard error; with `json` to
    standard output, where nothing else may be printed meanwhile."""
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
def _only_json():  # type: ignore[no-untyped-def]
    """Whatever libraries print goes to standard error; gives a function that prints an object."""
    own, sys.stdout = sys.stdout, sys.stderr

    def emit(value: dict[str, Any]) -> None:
        sys.stdout = own
        try:
            print_json({k: v for k, v in value.items() if _number(v) or isinstance(v, str)})
        finally:
            sys.stdout = sys.stderr

    try:
        yield emit
    finally:
        sys.stdout = own


def _finish(folder: Path, json: bool) -> None:
    from ..training.finetune import leave_group

    if not leave_group():
        return
    if json:
        print_json({"model": str(folder)})
    else:
        typer.echo(str(folder))


def main() -> None:
    run(app)


if __name__ == "__main__":
    main()
