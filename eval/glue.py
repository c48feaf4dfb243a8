"""Fine-tuning of a backbone on a classification task, scored on the development set."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..packed import Packed
from .benchmark import suite_record
from .hub import load_table
from .results import Result, environment, now, peak_memory_bytes
from .suites.spec import ClassificationTask, Suite

if TYPE_CHECKING:
    from ..backbone import Classifier
    from ..encoders.tokens import TextTokenizer


@dataclass(frozen=True)
class FineTuning:
    """Options of fine-tuning with AdamW and a linear warm-up and decay of the learning rate.

    Args:
        epochs: Passes over the training set.
        learning_rate: The highest learning rate.
        batch: Examples per step.
        weight_decay: Weight decay of AdamW.
        warmup: Fraction of the steps during which the learning rate rises from 0.
        length: Tokens read of a text or pair, special ones included.
        seed: Seed of the new layers' weights and of the order of examples.
    """

    epochs: int = 3
    learning_rate: float = 5e-5
    batch: int = 32
    weight_decay: float = 1e-5
    warmup: float = 0.06
    length: int = 512
    seed: int = 0


@dataclass(frozen=True)
class Examples:
    """A tokenized split.

    Args:
        ids: Token ids, int64.
        labels: (B,) labels: float32 for a score, otherwise int64.
        checksum: SHA-256 of the rows, in hexadecimal.
    """

    ids: Packed
    labels: np.ndarray
    checksum: str


def fine_tune(
    suite: Suite,
    task: ClassificationTask,
    backbone: str,
    options: FineTuning,
    *,
    data_root: Path | None = None,
    published: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """Train a classifier on the task's training set and score it on its development set.

    Args:
        suite: The suite of the task.
        task: The task.
        backbone: Folder or hub name of a checkpoint; its heads are replaced by a new one.
        options: Options of the training.
        data_root: Folder with a copy of the repository under its name, to read instead of the hub.
        published: Name of the published row that the result is meant to reproduce.
        progress: Called with the number of training examples seen so far.

    Returns:
        The result, with the task's measure also under the name "score".

    Raises:
        InputError: The data lacks a column or has a label out of range, or the checkpoint cannot be
            loaded.
    """
    from ..backbone.files import find_checkpoint
    from ..encoders.tokens import TextTokenizer
    from .peers import fingerprint_of

    record = suite_record(suite, task, published)
    folder = find_checkpoint(backbone)
    tokenizer = TextTokenizer.load(folder)
    train = _examples(task, "train", tokenizer, options.length, data_root)
    held_out = _examples(task, task.split, tokenizer, options.length, data_root)
    started = time.perf_counter()
    network = _new_classifier(folder, task.labels, options.seed)
    _train(network, train, options, progress)
    predictions = _predict(network, held_out.ids, options.batch)
    seconds = time.perf_counter() - started
    value, per_example = score_predictions(task.measure, predictions, held_out.labels)
    return Result(
        system=f"{Path(backbone).name} fine-tuned",
        dataset={
            "name": task.name,
            "split": task.split,
            "documents": len(train.ids),
            "queries": len(held_out.ids),
            "judgements": len(held_out.ids),
            "checksums": {"train": train.checksum, task.split: held_out.checksum},
            "source": {"repository": task.repo, "revision": task.revision},
        },
        encoder={
            "name": backbone,
            "fingerprint": fingerprint_of(folder),
            "kind": "classifier",
            "dimension": task.labels,
        },
        index=None,
        search={"mode": "fine-tuning", "seconds": seconds, **asdict(options)},
        measures={"score": value, task.measure: value},
        per_query={task.measure: per_example, "score": per_example} if per_example else {},
        environment=environment(),
        peak_memory_bytes=peak_memory_bytes(),
        created=now(),
        suite=record,
    )


def score_predictions(
    measure: str, predictions: np.ndarray, labels: np.ndarray
) -> tuple[float, dict[str, float]]:
    """Score the predictions of a classifier.

    Args:
        measure: "accuracy", "matthews" or "spearman"; the last two are 0 for constant predictions.
        predictions: (B, labels) logits.
        labels: (B,) labels.

    Returns:
        The score and, for accuracy only, 1.0 or 0.0 by the number of each example.
    """
    from scipy.stats import spearmanr

    if measure == "spearman":
        scores = predictions[:, 0]
        constant = np.ptp(scores) == 0 or np.ptp(labels) == 0
        return (0.0 if constant else float(spearmanr(scores, labels).statistic)), {}
    chosen = predictions.argmax(axis=1)
    if measure == "matthews":
        # for two classes, Matthews' coefficient is the correlation of the two indicator vectors
        constant = np.ptp(chosen) == 0 or np.ptp(labels) == 0
        return (0.0 if constant else float(np.corrcoef(chosen, labels)[0, 1])), {}
    right = (chosen == labels).astype(float)
    return float(right.mean()), {str(i): value for i, value in enumerate(right.tolist())}


def _examples(
    task: ClassificationTask,
    split: str,
    tokenizer: TextTokenizer,
    length: int,
    data_root: Path | None,
) -> Examples:
    from tempfile import TemporaryDirectory

    local = None if data_root is None else data_root / task.repo
    if local is not None and not local.is_dir():
        raise InputError(f"{data_root} has no folder {task.repo}")
    digest = hashlib.sha256()
    texts: list[Any] = []
    labels: list[float] = []
    with TemporaryDirectory() as scratch:
        repo, revision = (task.repo, task.revision) if local is None else (str(local), None)
        table = load_table(
            repo, revision, task.config, split, None if local is None else Path(scratch)
        )
        for number, row in enumerate(table):
            row_name = f"{task.repo} ({task.config}, {split}), row {number}"
            values = [row.get(column) for column in task.texts]
            if not all(isinstance(value, str) for value in values):
                raise InputError(f"{row_name}: {' and '.join(task.texts)} must be strings")
            label = row.get("label")
            is_known = task.labels == 1 or label in range(task.labels)
            if not isinstance(label, int | float) or not is_known:
                raise InputError(f"{row_name}: the label {label!r} is not a label of {task.name}")
            digest.update(json.dumps([values, label]).encode() + b"\n")
            texts.append(values[0] if len(values) == 1 else tuple(values))
            labels.append(label)
    if not texts:
        raise InputError(f"{task.repo} ({task.config}, {split}) has no rows")
    tokenizer.backend.enable_truncation(length)
    ids = [encoded.ids for encoded in tokenizer.backend.encode_batch(texts)]
    kind = np.float32 if task.labels == 1 else np.int64
    return Examples(
        Packed.from_sequences(ids, dtype=np.int64), np.array(labels, kind), digest.hexdigest()
    )


def _new_classifier(folder: Path, labels: int, seed: int) -> Classifier:
    import torch

    from ..backbone import Classifier, ModernBert, initialise, load_network

    backbone = load_network(ModernBert, folder)
    network = Classifier(replace(backbone.config, num_labels=labels))
    initialise(network, network.config, torch.Generator().manual_seed(seed))
    network.model = backbone
    return network.to("cuda" if torch.cuda.is_available() else "cpu")


def _train(
    network: Classifier,
    examples: Examples,
    options: FineTuning,
    progress: Callable[[int], None] | None,
) -> None:
    import torch
    import torch.nn.functional as F

    count = len(examples.ids)
    steps = options.epochs * -(-count // options.batch)
    rising = max(1, round(options.warmup * steps))
    optimizer = torch.optim.AdamW(
        network.parameters(), options.learning_rate, weight_decay=options.weight_decay
    )

    def rate(step: int) -> float:
        return min((step + 1) / rising, max(0.0, (steps - step) / max(1, steps - rising)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    order = np.random.default_rng(options.seed)
    network.train()
    seen = 0
    for _ in range(options.epochs):
        shuffled = order.permutation(count)
        for rows in _batches(shuffled, options.batch):
            logits = _logits(network, examples.ids.select(rows))
            labels = torch.from_numpy(examples.labels[rows]).to(logits.device)
            if labels.is_floating_point():
                loss = F.mse_loss(logits[:, 0], labels)
            else:
                loss = F.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            seen += len(rows)
            if progress is not None:
                progress(seen)


def _predict(network: Classifier, ids: Packed, batch: int) -> np.ndarray:
    """Return (B, labels) float32 logits."""
    import torch

    network.eval()
    with torch.inference_mode():
        parts = [
            _logits(network, ids.select(rows)).float().cpu().numpy()
            for rows in _batches(np.arange(len(ids)), batch)
        ]
    return np.concatenate(parts)


def _logits(network: Classifier, ids: Packed) -> Any:
    import torch

    device = next(network.parameters()).device
    return network(
        torch.from_numpy(ids.values).to(device), torch.from_numpy(ids.offsets).to(device)
    )


def _batches(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (order[start : start + size] for start in range(0, len(order), size))
