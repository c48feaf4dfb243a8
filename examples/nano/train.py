"""Train `nano` from scratch on a CPU: a small ModernBERT with a dense and a late-interaction head.

    python examples/nano/train.py --data DIR --out DIR/run --steps 2000

DIR holds what gather.py, tokenizer.py and teach.py made. One forward pass a text serves both heads:
queries start with [Q] and documents with [D] either way. The loss adds up

- distillation of the teacher's vectors: 1 - cosine between the dense head and all-MiniLM-L6-v2's
  vector, projected on its 256 leading directions;
- ranking, for each head: cross-entropy of the query's scores over the documents of the batch
  against an even mixture of the true document and the teacher's own softmax over them, which takes
  the place of filtering false negatives.

Token embeddings start as the teacher's vectors of the tokens (as in model2vec), so that training
begins from a bag of words that already ranks. Interrupt at any time: the same command resumes.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mbert_retrieval.backbone import ModernBert, ModernBertConfig, initialise
from mbert_retrieval.packed import Packed

HIDDEN, TOKEN_DIMENSION = 256, 64
QUERY_TOKENS, DOCUMENT_TOKENS = 32, 96
TEMPERATURE = 0.05
HELD_OUT = 1000  # pairs at the end of the file, never trained on


class Nano(nn.Module):
    """The backbone and the projection of its late-interaction head."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.backbone = ModernBert(config)
        self.projection = nn.Linear(HIDDEN, TOKEN_DIMENSION, bias=False)

    def forward(self, batch: Packed) -> tuple[Tensor, Tensor]:
        """Dense vectors (B, 256) and token vectors (N, 64), all of unit norm."""
        cu_seqlens = torch.from_numpy(batch.offsets)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.backbone(torch.from_numpy(batch.values), cu_seqlens)
        hidden = hidden.float()
        pooled = torch.segment_reduce(hidden, "mean", lengths=cu_seqlens.diff(), unsafe=True)
        return F.normalize(pooled, dim=1), F.normalize(self.projection(hidden), dim=1)


def nano_config() -> ModernBertConfig:
    return ModernBertConfig(
        vocab_size=16384,
        hidden_size=HIDDEN,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=4,
        pad_token_id=0,
        cls_token_id=2,
        sep_token_id=3,
    )


def tokenise(pairs: Path, tokenizer_file: Path) -> tuple[Packed, Packed]:
    """All queries and documents as ids, with their prefix: [CLS] [Q] text [SEP].

    A pair without a query has an empty one. The result is kept beside the pairs.
    """
    from tokenizers import Tokenizer

    kept = pairs.with_name("ids.npz")
    if kept.exists():
        stored = np.load(kept, allow_pickle=False)
        return (
            Packed(stored["queries"].astype(np.int64), stored["query_offsets"]),
            Packed(stored["documents"].astype(np.int64), stored["document_offsets"]),
        )
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    sides: list[Packed] = []
    for side, prefix, limit in (
        ("query", "[Q] ", QUERY_TOKENS),
        ("document", "[D] ", DOCUMENT_TOKENS),
    ):
        tokenizer.enable_truncation(limit)
        with gzip.open(pairs, "rt", encoding="utf-8") as lines:
            texts = [json.loads(line)[side] for line in lines]
        ids = [e.ids for e in tokenizer.encode_batch_fast([prefix + (t or "") for t in texts])]
        ids = [row if text else [] for row, text in zip(ids, texts, strict=True)]
        sides.append(Packed.from_sequences(ids, dtype=np.int64))
    queries, documents = sides
    np.savez(
        kept,
        queries=queries.values.astype(np.int16),
        query_offsets=queries.offsets,
        documents=documents.values.astype(np.int16),
        document_offsets=documents.offsets,
    )
    return queries, documents


def late_scores(
    queries: Tensor, query_offsets: Tensor, documents: Tensor, places: Tensor
) -> Tensor:
    """Mean over the query's tokens of their best match in each document (MaxSim / length).

    queries: (Nq, 64). documents: (Nd, 64). places: (B, L) rows of `documents` that belong to each
    document, padded with -1. Which token matches best is found without a gradient, and only those
    products are formed again with one. Returns (queries, B).
    """
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        similarity = queries @ documents[places.clamp(min=0).flatten()].T
        similarity = similarity.view(len(queries), *places.shape).masked_fill(places < 0, -2.0)
        best = places.gather(1, similarity.argmax(2).T).T  # (Nq, B) rows of `documents`
    matched = documents.index_select(0, best.flatten()).view(*best.shape, -1)
    products = torch.einsum("qd,qbd->qb", queries, matched)
    return torch.segment_reduce(products, "mean", lengths=query_offsets.diff(), unsafe=True)


def places_of(documents: Packed, skipped: np.ndarray) -> Tensor:
    """(B, L) rows of the packed tokens that MaxSim may match, padded with -1."""
    rows = [
        torch.from_numpy(np.flatnonzero(~skipped[ids]) + start)
        for ids, start in zip(documents, documents.offsets[:-1], strict=True)
    ]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)


def ranking_loss(scores: Tensor, teacher: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Cross-entropy against half the true document, half the teacher's distribution."""
    target = 0.5 * F.softmax(teacher / TEMPERATURE, dim=1)
    target.diagonal().add_(0.5)
    return -(target * F.log_softmax(scores / temperature, dim=1)).sum(1).mean()


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Trapezoid: 4 % warm-up, flat, and a 1 - sqrt decay over the last 30 %."""
    warm, decay = 0.04 * steps, 0.7 * steps
    if step < warm:
        return peak * (step + 1) / warm
    if step < decay:
        return peak
    return peak * (1 - ((step - decay) / (steps - decay)) ** 0.5)


def teacher_vectors(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of queries and documents, (pairs, 384) float16, as far as teach.py has come."""
    sides = [
        [np.load(path, allow_pickle=False) for path in sorted(folder.glob(f"{side}-*.npy"))]
        for side in ("queries", "documents")
    ]
    shards = min(len(side) for side in sides)
    queries, documents = (np.concatenate(side[:shards]) for side in sides)
    return queries, documents


def leading_directions(vectors: np.ndarray, sample: int = 20_000) -> np.ndarray:
    """(384, 256) orthonormal basis of the teacher's space that keeps most of its inner products."""
    rows = vectors[:sample].astype(np.float32)
    _, directions = np.linalg.eigh(rows.T @ rows)
    return np.ascontiguousarray(directions[:, ::-1][:, :HIDDEN])


def punctuation_mask(tokenizer_file: Path) -> np.ndarray:
    """(vocabulary,) bool: the tokens that ColBERT's skiplist drops from documents."""
    import string

    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    mask = np.zeros(tokenizer.get_vocab_size(), dtype=bool)
    mask[[tokenizer.token_to_id(mark) for mark in string.punctuation]] = True
    return mask


def batch_rows(paired: np.ndarray, step: int, size: int, seed: int) -> np.ndarray:
    """The rows of one step: a permutation of its own for each epoch, so any step can be resumed."""
    steps = len(paired) // size
    order = np.random.default_rng([seed, step // steps]).permutation(paired)
    return order[step % steps * size :][:size]


def token_embeddings(teacher: Path, basis: np.ndarray, generator: torch.Generator) -> Tensor:
    """(vocabulary, 256) start of the token embeddings: the teacher's vectors of the tokens."""
    vectors = np.load(teacher / "tokens.npy", allow_pickle=False).astype(np.float32) @ basis
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-6)
    start = torch.from_numpy(vectors)
    bare = ~start.any(1)  # single bytes, which stand for no text
    bare[:7] = True  # the special tokens
    drawn = torch.randn(len(start), HIDDEN, generator=generator) / HIDDEN**0.5
    return torch.where(bare[:, None], drawn, start)


def save_state(path: Path, model: Nano, optimiser: torch.optim.Optimizer, step: int) -> None:
    """Weights and optimiser state as one safetensors file, replaced atomically."""
    from safetensors.torch import save_file

    tensors = {f"model.{name}": t.contiguous() for name, t in model.state_dict().items()}
    for i, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{name}": t.contiguous() for name, t in state.items()}
    save_file(tensors, path.with_suffix(".new"), metadata={"step": str(step)})
    os.replace(path.with_suffix(".new"), path)


def load_state(path: Path, model: Nano, optimiser: torch.optim.Optimizer) -> int:
    """Take up the state that `save_state` wrote; returns the steps done."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        step = int(stored.metadata()["step"])
    model.load_state_dict(
        {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    )
    state = optimiser.state_dict()
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".")
            state["state"].setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict(state)
    return step


@torch.no_grad()
def held_out_mrr(model: Nano, queries: Packed, documents: Packed, skipped: np.ndarray) -> dict:
    """Mean reciprocal rank of the true document among the held-out ones, for each head."""
    model.eval()
    offsets = torch.from_numpy(queries.offsets)
    dense_q, token_q = model(queries)
    dense_d, token_d = [], []
    for start in range(0, len(documents), 100):
        dense, tokens = model(documents.select(np.arange(start, min(start + 100, len(documents)))))
        dense_d.append(dense)
        token_d.append(tokens)
    late = late_scores(token_q, offsets, torch.cat(token_d), places_of(documents, skipped))
    model.train()
    scores = {"dense": dense_q @ torch.cat(dense_d).T, "late": late}
    return {
        head: float((1 / (s > s.diagonal()[:, None]).sum(1).add(1)).mean())
        for head, s in scores.items()
    }


def export(model: Nano, tokenizer_folder: Path, skipped: np.ndarray, out: Path) -> None:
    """Write the folder that the package ships: a portable late-interaction checkpoint in float16,
    with the dense head of the same backbone in its `dense` subfolder."""
    from mbert_retrieval.encoders.dense_layer import Dense
    from mbert_retrieval.encoders.encoder import Encoder, Side
    from mbert_retrieval.encoders.heads import DenseHead, LateHead
    from mbert_retrieval.encoders.portable import write_dense_head, write_encoder
    from mbert_retrieval.encoders.tokens import TextTokenizer

    layer = Dense(HIDDEN, TOKEN_DIMENSION, bias=False)
    layer.linear.weight = model.projection.weight
    late = LateHead((layer,), tuple(np.flatnonzero(skipped).tolist()))
    tokenizer = TextTokenizer.load(tokenizer_folder)
    query, document = Side("[Q]", 64), Side("[D]", 512)
    write_encoder(Encoder(model.backbone, tokenizer, late, query, document), out, torch.float16)
    dense = Encoder(model.backbone, tokenizer, DenseHead(HIDDEN), query, document)
    write_dense_head(dense, out / "dense")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="pairs.jsonl.gz, tokenizer, teacher"
    )
    parser.add_argument("--out", type=Path, required=True, help="checkpoint, log and model folder")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=128, help="pairs a step")
    parser.add_argument("--peak", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)

    queries, documents = tokenise(
        args.data / "pairs.jsonl.gz", args.data / "tokenizer" / "tokenizer.json"
    )
    teacher_q, teacher_d = teacher_vectors(args.data / "teacher")
    paired = np.flatnonzero(queries.lengths[: len(teacher_d)] > 0)
    held_out, paired = paired[-HELD_OUT:], paired[:-HELD_OUT]
    basis = leading_directions(teacher_d)
    skipped = punctuation_mask(args.data / "tokenizer" / "tokenizer.json")

    config = nano_config()
    model = Nano(config)
    initialise(model, config, generator)
    with torch.no_grad():
        model.backbone.embeddings.tok_embeddings.weight.copy_(
            token_embeddings(args.data / "teacher", basis, generator)
        )
    model.train()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=args.peak, betas=(0.9, 0.98), weight_decay=0.01
    )
    state = args.out / "state.safetensors"
    first = load_state(state, model, optimiser) if state.exists() else 0
    projection = torch.from_numpy(basis)
    log = (args.out / "log.jsonl").open("a", encoding="utf-8")
    began = time.monotonic()

    for step in range(first, args.steps):
        rows = batch_rows(paired, step, args.batch, args.seed)
        batch_q, batch_d = queries.select(rows), documents.select(rows)
        goal_q, goal_d = (
            torch.from_numpy(t[rows].astype(np.float32)) for t in (teacher_q, teacher_d)
        )
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.peak)

        dense, tokens = model(Packed.concatenate([batch_q, batch_d]))
        dense_q, dense_d = dense.split([len(rows), len(rows)])
        token_q, token_d = tokens.split([len(batch_q.values), len(batch_d.values)])
        goal = F.normalize(torch.cat((goal_q, goal_d)) @ projection, dim=1)
        teacher_scores = goal_q @ goal_d.T
        losses = {
            "distil": 1 - (dense * goal).sum(1).mean(),
            "dense": ranking_loss(dense_q @ dense_d.T, teacher_scores),
            "late": ranking_loss(
                late_scores(
                    token_q,
                    torch.from_numpy(batch_q.offsets),
                    token_d,
                    places_of(batch_d, skipped),
                ),
                teacher_scores,
            ),
        }
        loss = 4 * losses["distil"] + losses["dense"] + losses["late"]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

        done = step + 1
        if done % 20 == 0:
            pace = (time.monotonic() - began) / (done - first)
            entry = {"step": done, "seconds_a_step": round(pace, 2)}
            entry |= {name: round(value.item(), 4) for name, value in losses.items()}
            if done % 200 == 0:
                entry["mrr"] = held_out_mrr(
                    model, queries.select(held_out), documents.select(held_out), skipped
                )
                save_state(state, model, optimiser, done)
            print(json.dumps(entry), flush=True)
            log.write(json.dumps(entry) + "\n")
            log.flush()
    save_state(state, model, optimiser, args.steps)
    export(model, args.data / "tokenizer", skipped, args.out / "model")


if __name__ == "__main__":
    main()
