"""GLUE (Wang et al. 2019, arXiv 1804.07461): eight tasks on which the network is fine-tuned."""

from __future__ import annotations

from . import modernbert_paper
from .spec import ClassificationTask, Suite

REPO, REVISION = "nyu-mll/glue", "main"


def _task(
    name: str,
    texts: tuple[str, ...],
    labels: int = 2,
    measure: str = "accuracy",
    split: str = "validation",
) -> ClassificationTask:
    return ClassificationTask(
        f"glue-{name}", REPO, REVISION, name, texts, labels, measure, split=split
    )


SUITE = Suite(
    "glue",
    "GLUE: language understanding by fine-tuning, 8 tasks (run it with mbert-eval glue)",
    [
        _task("cola", ("sentence",), measure="matthews"),
        _task("sst2", ("sentence",)),
        _task("mrpc", ("sentence1", "sentence2")),
        _task("stsb", ("sentence1", "sentence2"), labels=1, measure="spearman"),
        _task("qqp", ("question1", "question2")),
        _task("mnli", ("premise", "hypothesis"), labels=3, split="validation_matched"),
        _task("qnli", ("question", "sentence")),
        _task("rte", ("sentence1", "sentence2")),
    ],
    protocol=(
        "Development sets (the test labels are not public; MNLI: matched). CoLA: Matthews "
        "correlation, STS-B: Spearman correlation, others: accuracy. The mean is over the 8. One "
        "fine-tuning a task with the settings in the record; the published rows searched over "
        "learning rates and epochs, so a single run stays below them."
    ),
    measures="score",
    published=modernbert_paper.rows("glue"),
)
