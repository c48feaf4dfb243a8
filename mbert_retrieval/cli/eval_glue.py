"""`mbert-eval glue`: fine-tune a backbone on the tasks of GLUE and score it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import message, print_json, progress_bar


def glue(
    backbone: Annotated[str, typer.Argument(help="Folder or hub name of a ModernBERT checkpoint.")],
    datasets: Annotated[
        str | None,
        typer.Option(
            help="Tasks, separated by commas, such as glue-rte,glue-mrpc. Default: all eight."
        ),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder with a copy of the hub's nyu-mll/glue.")
    ] = None,
    results: Annotated[
        Path, typer.Option(help="Folder of result files; tasks with a result are not run again.")
    ] = Path("results"),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training set.")] = 3,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Highest learning rate.")] = 5e-5,
    batch: Annotated[int, typer.Option(min=1, help="Examples per step.")] = 32,
    seed: Annotated[int, typer.Option(help="Seed of new weights and of the order.")] = 0,
    published: Annotated[
        str | None, typer.Option(help="Published row that this is meant to reproduce.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per result on standard output.")
    ] = False,
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
        typer.echo(suite_table(suite, finished), nl=False)
