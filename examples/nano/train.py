"""Train `nano` on a CPU: a small ModernBERT with a dense and a late-interaction head.

    python examples/nano/train.py --data DIR [DIR ...] --out DIR/run --steps 2000
    python examples/nano/train.py --data DIR [DIR ...] --out DIR/run2 --minutes 60 \\
        --start ../../mbert_retrieval/encoders/nano

Each data folder holds what gather.py and teach.py made; the first one also the tokenizer. One
forward pass a text serves both heads: queries start with [Q] and documents with [D] either way.
The loss adds up

- distillation of the teacher's vectors: 1 - cosine between the dense head and all-MiniLM-L6-v2's
  vector, projected on its 256 leading directions;
- ranking, for each head: cross-entropy of the query's scores over the documents of the batch
  against an even mixture of the true document and the teacher's own softmax over them, instead of
  filtering false negatives. Haystacks have only the true document and the late head.

In a run from scratch, token embeddings start as the teacher's vectors of the tokens (as in
model2vec), so that training begins from a bag of words that already ranks; --start begins with the
weights of an earlier round. Can be interrupted: the same command resumes, also with more data.

Workers share the weights in memory and update them without waiting for each other (Recht et al.
2011, Hogwild): on a machine that others use too, one thread in each of two processes gets further
than two threads that meet after every operation.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from batches import Batch, Batches, Pairs, shortened
from student import (
    Nano,
    export,
    held_out_mrr,
    late_scores,
    leading_directions,
    matchable_rows,
    nano_config,
    punctuation_mask,
    ranking_loss,
    token_embeddings,
    weights_of,
)
from torch import Tensor, nn

from mbert_retrieval.backbone import initialise
from mbert_retrieval.packed import Packed

EVALUATED_TOKENS = 128  # of held-out documents
WEIGHTS = {"distil": 6.0, "dense": 1.0, "late": 1.0, "haystack": 0.5}
INGREDIENTS = (
    "teacher-vectors", "teacher-scores", "teacher-tokens", "neighbours", "haystacks", "muon",
)  # fmt: skip


def learning_rate(progress: float, peak: float) -> float:
    """Trapezoid: 4 % warm-up, flat, and a 1 - sqrt decay over the last half."""
    if progress < 0.04:
        return peak * max(progress, 0.001) / 0.04
    return peak * (1 - max(2 * progress - 1, 0) ** 0.5)


def losses_of(
    model: Nano,
    batch: Batch,
    basis: Tensor,
    skipped: np.ndarray,
    without: Sequence[str] = (),
) -> dict[str, Tensor]:
    """The terms of the loss, by their names in WEIGHTS. without: INGREDIENTS left out."""
    dense, tokens = model(Packed.concatenate([batch.queries, batch.documents]))
    dense_q, dense_d = dense.chunk(2)
    token_q, token_d = tokens.split([len(batch.queries.values), len(batch.documents.values)])
    offsets = torch.from_numpy(batch.queries.offsets)
    late = late_scores(token_q, offsets, token_d, matchable_rows(batch.documents, skipped))
    if batch.distilled is None:
        return {"haystack": ranking_loss(late)}
    goal_q = torch.from_numpy(batch.teacher_queries.astype(np.float32))
    goal_d = torch.from_numpy(batch.teacher_documents.astype(np.float32))
    goal = F.normalize(torch.cat((goal_q, goal_d)) @ basis, dim=1)
    taught = goal_d.any(1)
    seen = torch.cat((taught, taught & torch.from_numpy(batch.distilled)))
    teacher_scores = None if "teacher-scores" in without else goal_q @ goal_d.T
    losses = {
        "dense": ranking_loss(dense_q @ dense_d.T, teacher_scores, taught),
        "late": ranking_loss(late, teacher_scores, taught),
    }
    if "teacher-vectors" not in without:
        losses["distil"] = 1 - (dense * goal).sum(1)[seen].mean()
    return losses


def optimisers_of(model: Nano, peak: float, muon: bool = True) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024, scaled as by Liu et al. 2025) for the matrices of the layers and of
    the projection, AdamW for the token embeddings and the norms, or without it for all."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim == 2 and "tok_embeddings" not in name
        (matrices if matrix and muon else others).append(parameter)
    adamw = torch.optim.AdamW(others, lr=peak, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    if not muon:
        return [adamw]
    scaled = {"weight_decay": 0.01, "adjust_lr_fn": "match_rms_adamw"}
    return [torch.optim.Muon(matrices, lr=peak, **scaled), adamw]


def save_state(
    path: Path, model: Nano, optimisers: list[torch.optim.Optimizer], progress: dict[str, float]
) -> None:
    """Weights and optimiser states as one safetensors file, replaced atomically."""
    from safetensors.torch import save_file

    tensors = {f"model.{name}": t.contiguous() for name, t in model.state_dict().items()}
    for n, optimiser in enumerate(optimisers):
        for i, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{n}.{i}.{name}": t.contiguous() for name, t in state.items()}
    metadata = {name: str(value) for name, value in progress.items()}
    save_file(tensors, path.with_suffix(".new"), metadata=metadata)
    os.replace(path.with_suffix(".new"), path)


def load_state(
    path: Path, model: Nano, optimisers: list[torch.optim.Optimizer]
) -> dict[str, float]:
    """Load what `save_state` wrote, and return the progress."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        progress = {name: float(value) for name, value in stored.metadata().items()}
    model.load_state_dict(weights_of(path))
    for n, optimiser in enumerate(optimisers):
        state = optimiser.state_dict()
        for name, tensor in tensors.items():
            if name.startswith(f"optimiser.{n}."):
                *_, index, key = name.split(".")
                state["state"].setdefault(int(index), {})[key] = tensor
        optimiser.load_state_dict(state)
    return progress


def evaluate(model: Nano, pairs: Pairs, skipped: np.ndarray) -> dict[str, dict[str, float]]:
    """Mean reciprocal rank of the held-out pairs of code and of text, each among its own kind."""
    mrr = {}
    for kind, rows in (
        ("code", pairs.held_out[pairs.code[pairs.held_out]]),
        ("text", pairs.held_out[~pairs.code[pairs.held_out]]),
    ):
        documents = shortened(pairs.documents.select(rows), EVALUATED_TOKENS)
        ranks = held_out_mrr(model, pairs.queries.select(rows), documents, skipped)
        mrr[kind] = {head: round(float(r.mean()), 4) for head, r in ranks.items()}
    return mrr


@dataclass
class Run:
    """What all workers use. counts: float64 in shared memory: steps begun, seconds of training,
    whether to stop."""

    args: argparse.Namespace
    model: Nano
    pairs: Pairs
    basis: Tensor
    skipped: np.ndarray

    def __post_init__(self) -> None:
        self.counts = torch.zeros(3, dtype=torch.float64).share_memory_()
        self.lock = mp.Lock()
        self.state = self.args.out / "state.safetensors"

    def progress(self) -> dict[str, float]:
        step, seconds, _ = self.counts.tolist()
        return {"step": step, "seconds": seconds}

    def fraction_done(self) -> float:
        step, seconds, stop = self.counts.tolist()
        if stop:
            return 1.0
        return step / self.args.steps if self.args.steps else seconds / (60 * self.args.minutes)

    def work(self, optimisers: list[torch.optim.Optimizer], log: TextIO | None = None) -> None:
        """Train to the end; the worker with the log also measures time and saves."""
        without = self.args.without
        batches = Batches(self.pairs, self.args.seed, haystacks="haystacks" not in without)
        means: dict[str, list[float]] = {}
        evaluated = reported = saved = self.counts[0].item(), time.monotonic()
        while (done := self.fraction_done()) < 1:
            began = time.monotonic()
            with self.lock:
                step = int(self.counts[0])
                self.counts[0] += 1
            for group in chain.from_iterable(each.param_groups for each in optimisers):
                group["lr"] = learning_rate(done, self.args.peak)
            losses = losses_of(self.model, batches(step), self.basis, self.skipped, without)
            self.model.zero_grad(set_to_none=True)
            sum(WEIGHTS[name] * loss for name, loss in losses.items()).backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for optimiser in optimisers:
                optimiser.step()
            if log is None:
                continue
            self.counts[1] += time.monotonic() - began
            for name, value in losses.items():
                means.setdefault(name, []).append(value.item())
            now = step, time.monotonic()
            if step - reported[0] >= 20:
                minutes = self.counts[1].item() / 60
                entry = {"step": step, "minutes": round(minutes, 2), "progress": round(done, 4)}
                entry |= {name: round(float(np.mean(v)), 4) for name, v in means.items()}
                means, reported = {}, now
                if step - evaluated[0] >= 600:
                    entry["mrr"] = evaluate(self.model, self.pairs, self.skipped)
                    evaluated = now
                print(json.dumps(entry), flush=True)
                log.write(json.dumps(entry) + "\n")
                log.flush()
            if now[1] - saved[1] > 180:
                save_state(self.state, self.model, optimisers, self.progress())
                saved = now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, nargs="+", help="pairs, teacher")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint, log and model folder")
    parser.add_argument("--start", type=Path, help="the state or the model of an earlier round")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int)
    length.add_argument("--minutes", type=float, help="of training, all runs of --out together")
    parser.add_argument("--peak", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument(
        "--without", nargs="+", default=[], choices=INGREDIENTS, help="leave these out, to compare"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)  # before anything runs, so that forking is safe
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)

    tokenizer = args.data[0] / "tokenizer"
    pairs = Pairs.read(args.data, tokenizer / "tokenizer.json")
    if "neighbours" in args.without:
        pairs.neighbours.fill(-1)
    basis = leading_directions(pairs.teacher_documents)
    skipped = punctuation_mask(tokenizer / "tokenizer.json")

    config = nano_config(len(skipped))
    model = Nano(config)
    initialise(model, config, generator)
    model.train()
    model.share_memory()
    run = Run(args, model, pairs, torch.from_numpy(basis), skipped)
    optimisers = optimisers_of(model, args.peak, muon="muon" not in args.without)
    if run.state.exists():
        progress = load_state(run.state, model, optimisers)
        run.counts[:] = torch.tensor([progress["step"], progress["seconds"], 0.0])
    elif args.start:
        model.load_state_dict(weights_of(args.start))
    elif "teacher-tokens" not in args.without:
        with torch.no_grad():
            model.backbone.embeddings.tok_embeddings.weight.copy_(
                token_embeddings(args.data[0] / "teacher", basis, generator)
            )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: run.counts[2].fill_(1))
    workers = [mp.Process(target=run.work, args=(optimisers,)) for _ in range(args.workers - 1)]
    for worker in workers:
        worker.start()
    run.work(optimisers, log=(args.out / "log.jsonl").open("a", encoding="utf-8"))
    for worker in workers:
        worker.join()
    save_state(run.state, model, optimisers, run.progress())
    print(json.dumps({**run.progress(), "mrr": evaluate(model, pairs, skipped)}), flush=True)
    export(model, tokenizer, skipped, args.out / "model")


if __name__ == "__main__":
    main()
