"""`mbert-eval glue`: fine-tune a backbone on GLUE's tasks and measure it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import message, print_json, progress_bar


def glue(
    backbone: Annotated[str, typer.Argument(help="A ModernBERT folder or hub name.")],
    datasets: Annotated[
        str | None, typer.Option(help="Such as glue-rte,glue-mrpc; by default all eight.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder with a copy of the hub's nyu-mll/glue.")
    ] = None,
    results: Annotated[
        Path, typer.Option(help="Folder of result files; what is there is not run again.")
    ] = Path("results"),
    epochs: Annotated[int, typer.Option(min=1)] = 3,
    learning_rate: Annotated[float, typer.Option(min=0.0)] = 5e-5,
    batch: Annotated[int, typer.Option(min=1, help="Examples a step.")] = 32,
    seed: Annotated[int, typer.Option()] = 0,
    published: Annotated[
        str | None, typer.Option(help="The published row that this is to reproduce.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each result as one JSON object a line on stdout.")
    ] = False,
) -> None:
    """Fine-tune on GLUE and measure on its development sets, one result file a task."""
    from ..eval.glue import FineTuning, fine_tune
    from ..eval.report import suite_table
    from ..eval.results import cell_file, read_result
    from ..eval.suites import find_suite

    suite = find_suite("glue")
    options = FineTuning(epochs=epochs, learning_rate=learning_rate, batch=batch, seed=seed)
    measured = []
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
        measured.append(result)
        if as_json:
            print_json(result.summary())
    if not as_json:
        typer.echo(suite_table(suite, measured), nl=False)
