"""`mbert-eval glue`: fine-tune a backbone on the tasks of GLUE and score it."""

from __future__ import annotations

from pathlib import Path

import click

from .console import message, print_json, progress_bar
from .eval_options import json_results
from .options import FILE_PATH


@click.command()
@click.argument("backbone", help="Folder or hub name of a ModernBERT checkpoint.")
@click.option(
    "--datasets",
    help="Tasks, separated by commas, such as glue-rte,glue-mrpc. Default: all eight.",
)
@click.option("--data-root", type=FILE_PATH, help="Folder with a copy of the hub's nyu-mll/glue.")
@click.option(
    "--results",
    type=FILE_PATH,
    default=Path("results"),
    help="Folder of result files; tasks with a result are not run again.",
)
@click.option(
    "--epochs", type=click.IntRange(min=1), default=3, help="Passes over the training set."
)
@click.option(
    "--learning-rate", type=click.FloatRange(min=0.0), default=5e-5, help="Highest learning rate."
)
@click.option("--batch", type=click.IntRange(min=1), default=32, help="Examples per step.")
@click.option("--seed", type=int, default=0, help="Seed of new weights and of the order.")
@click.option("--published", help="Published row that this is meant to reproduce.")
@json_results
def glue(
    backbone: str,
    datasets: str | None,
    data_root: Path | None,
    results: Path,
    epochs: int,
    learning_rate: float,
    batch: int,
    seed: int,
    published: str | None,
    as_json: bool,
) -> None:
    """Fine-tune a backbone on GLUE and score it on the development sets."""
    from ..eval.glue import FineTuning, fine_tune
    from ..eval.report import suite_table
    from ..eval.results import cell_file, read_result
    from ..eval.suites import find_suite

    suite = find_suite("glue")
    options = FineTuning(epochs=epochs, learning_rate=learning_rate, batch=batch, seed=seed)
    finished = []
    for task in suite.classification(datasets):
        name = f"{Path(backbone).name} {epochs} {learning_rate:g} {batch} {seed}"
        path = results / cell_file(task.name, task.split, name)
        if path.is_file():
            result = read_result(path)
        else:
            with progress_bar(f"{task.name}: examples") as advance:
                result = fine_tune(
                    suite,
                    task,
                    backbone,
                    options,
                    data_root=data_root,
                    published=published,
                    progress=advance,
                )
            result.write(path)
        message(f"{task.name}: {task.measure} {result.measures['score']:.4f}")
        finished.append(result)
        if as_json:
            print_json(result.summary())
    if not as_json:
        click.echo(suite_table(suite, finished), nl=False)
