"""Fine-tuning a backbone on a classification task, and its score on the development set."""

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
from .benchmark import cell_of
from .hub import load_table
from .results import Result, environment, now, peak_memory_bytes
from .suites.spec import ClassificationTask, Suite

if TYPE_CHECKING:
    from ..backbone import Classifier
    from ..encoders.tokens import TextTokenizer


@dataclass(frozen=True)
class FineTuning:
    """AdamW; the learning rate rises linearly over the first `warmup` and falls linearly to 0.

    length: tokens of a text or pair. seed: of the new layers' weights and of the order.
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
    """Packed int64 ids, (B,) labels (float32 for a score, else int64), and sha256 of the rows."""

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
    """Train a classifier on the task's training set and measure it on its development set.

    backbone: a folder or hub name; its own heads are left aside and new ones drawn.
    data_root: a folder with the repository's files under its name, in place of the hub.
    progress: called with the number of training examples seen so far.

    Raises InputError for data without the columns or labels of the task, and for what
    `load_network` refuses.
    """
    from ..backbone.files import find_checkpoint
    from ..encoders.tokens import TextTokenizer
    from .peers import fingerprint_of

    place = cell_of(suite, task, published)
    folder = find_checkpoint(backbone)
    tokenizer = TextTokenizer.load(folder)
    train = _examples(task, "train", tokenizer, options.length, data_root)
    held_out = _examples(task, task.split, tokenizer, options.length, data_root)
    started = time.perf_counter()
    network = _new_classifier(folder, task.labels, options.seed)
    _train(network, train, options, progress)
    predictions = _predict(network, held_out.ids, options.batch)
    seconds = time.perf_counter() - started
    value, per_example = measured(task.measure, predictions, held_out.labels)
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
        suite=place,
    )


def measured(
    measure: str, predictions: np.ndarray, labels: np.ndarray
) -> tuple[float, dict[str, float]]:
    """The score, and 1 or 0 for each example (by its number) where the measure is accuracy.

    predictions: (B, labels) logits. matthews and spearman of constant predictions are 0.
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
            place = f"{task.repo} ({task.config}, {split}), row {number}"
            values = [row.get(column) for column in task.texts]
            if not all(isinstance(value, str) for value in values):
                raise InputError(f"{place}: {' and '.join(task.texts)} must be strings")
            label = row.get("label")
            whole = task.labels == 1 or label in range(task.labels)
            if not isinstance(label, int | float) or not whole:
                raise InputError(f"{place}: the label {label!r} is not one of {task.name}")
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
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            seen += len(rows)
            if progress is not None:
                progress(seen)


def _predict(network: Classifier, ids: Packed, batch: int) -> np.ndarray:
    """(B, labels) float32."""
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
