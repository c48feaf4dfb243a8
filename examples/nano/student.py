"""The student of `nano`: a small ModernBERT with two heads, their scores and losses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mbert_retrieval.backbone import ModernBert, ModernBertConfig
from mbert_retrieval.packed import Packed

HIDDEN, TOKEN_DIMENSION = 256, 64
TEMPERATURE = 0.05


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


def nano_config(vocabulary: int) -> ModernBertConfig:
    return ModernBertConfig(
        vocab_size=vocabulary,
        hidden_size=HIDDEN,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=4,
        pad_token_id=0,
        cls_token_id=2,
        sep_token_id=3,
    )


def token_embeddings(teacher: Path, basis: np.ndarray, generator: torch.Generator) -> Tensor:
    """(vocabulary, 256) start of the token embeddings: the teacher's vectors of the tokens."""
    vectors = np.load(teacher / "tokens.npy", allow_pickle=False).astype(np.float32) @ basis
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-6)
    start = torch.from_numpy(vectors)
    bare = ~start.any(1)  # single bytes, which stand for no text
    bare[:7] = True  # the special tokens
    drawn = torch.randn(len(start), HIDDEN, generator=generator) / HIDDEN**0.5
    return torch.where(bare[:, None], drawn, start)


def leading_directions(vectors: np.ndarray, sample: int = 20_000) -> np.ndarray:
    """(384, 256) orthonormal basis of the teacher's space that keeps most of its inner products."""
    rows = vectors[:sample].astype(np.float32)
    _, directions = np.linalg.eigh(rows.T @ rows)
    return np.ascontiguousarray(directions[:, ::-1][:, :HIDDEN])


def late_scores(queries: Tensor, query_offsets: Tensor, documents: Tensor, rows: Tensor) -> Tensor:
    """Mean over the query's tokens of their best match in each document (MaxSim / length).

    queries: (Nq, 64). documents: (Nd, 64). rows: (B, L) rows of `documents` that belong to each
    document, padded with -1. The best matches are chosen without a gradient, and only their
    products are computed again with one. Returns (queries, B).
    """
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        similarity = queries @ documents[rows.clamp(min=0).flatten()].T
        similarity = similarity.view(len(queries), *rows.shape).masked_fill(rows < 0, -2.0)
        best = rows.gather(1, similarity.argmax(2).T).T  # (Nq, B) rows of `documents`
    matched = documents.index_select(0, best.flatten()).view(*best.shape, -1)
    products = torch.einsum("qd,qbd->qb", queries, matched)
    return torch.segment_reduce(products, "mean", lengths=query_offsets.diff(), unsafe=True)


def matchable_rows(documents: Packed, skipped: np.ndarray) -> Tensor:
    """(B, L) rows of the packed tokens that MaxSim may match, padded with -1."""
    rows = [
        torch.from_numpy(np.flatnonzero(~skipped[ids]) + start)
        for ids, start in zip(documents, documents.offsets[:-1], strict=True)
    ]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)


def punctuation_mask(tokenizer_file: Path) -> np.ndarray:
    """(vocabulary,) bool: the tokens that ColBERT's skiplist drops from documents."""
    import string

    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    mask = np.zeros(tokenizer.get_vocab_size(), dtype=bool)
    mask[[tokenizer.token_to_id(mark) for mark in string.punctuation]] = True
    return mask


def ranking_loss(
    scores: Tensor, teacher: Tensor | None = None, taught: Tensor | None = None
) -> Tensor:
    """Cross-entropy of (B, B) scores against half the true document, half the teacher's
    distribution over the documents that it has vectors of; against the true document only for
    queries of other pairs, and without a teacher.

    teacher: (B, B) cosines. taught: (B,) bool, the pairs that the teacher has vectors of.
    """
    target = torch.eye(len(scores))
    if teacher is not None and taught is not None and taught.any():
        soft = F.softmax((teacher / TEMPERATURE).masked_fill(~taught, -torch.inf), dim=1)
        target = torch.where(taught[:, None], (target + soft) / 2, target)
    return -(target * F.log_softmax(scores / TEMPERATURE, dim=1)).sum(1).mean()


@torch.no_grad()
def held_out_mrr(
    model: Nano, queries: Packed, documents: Packed, skipped: np.ndarray
) -> dict[str, np.ndarray]:
    """Reciprocal rank of each query's document among the held-out ones, for each head."""
    model.eval()
    offsets = torch.from_numpy(queries.offsets)
    dense_q, token_q = model(queries)
    dense_d, late = [], []
    for start in range(0, len(documents), 100):
        part = documents.select(np.arange(start, min(start + 100, len(documents))))
        dense, tokens = model(part)
        dense_d.append(dense)
        late.append(late_scores(token_q, offsets, tokens, matchable_rows(part, skipped)))
    model.train()
    scores = {"dense": dense_q @ torch.cat(dense_d).T, "late": torch.cat(late, 1)}
    return {
        head: (1 / (s > s.diagonal()[:, None]).sum(1).add(1)).numpy() for head, s in scores.items()
    }


def weights_of(path: Path) -> dict[str, Tensor]:
    """Return the weights of a state of train.py, or of a model folder, by `Nano`'s names."""
    if path.is_dir():
        from mbert_retrieval import load_encoder

        encoder = load_encoder(path, "late", device="cpu", dtype=torch.float32)
        weights = {f"backbone.{n}": t for n, t in encoder.backbone.state_dict().items()}
        return weights | {"projection.weight": encoder.head.projections[0].linear.weight.detach()}
    from safetensors.torch import load_file

    return {
        n.removeprefix("model."): t for n, t in load_file(path).items() if n.startswith("model.")
    }


def export(model: Nano, tokenizer_folder: Path, skipped: np.ndarray, out: Path) -> None:
    """Write the folder that the package ships: a portable late-interaction checkpoint in float16,
    with the dense head of the same backbone in its `dense` subfolder."""
    from mbert_retrieval.encoders.dense_layer import Dense
    from mbert_retrieval.encoders.encoder import Encoder, InputSpec
    from mbert_retrieval.encoders.heads import DenseHead, LateHead
    from mbert_retrieval.encoders.tokens import TextTokenizer
    from mbert_retrieval.encoders.write import write_dense_head, write_encoder

    layer = Dense(HIDDEN, TOKEN_DIMENSION, bias=False)
    layer.linear.weight = model.projection.weight
    late = LateHead((layer,), tuple(np.flatnonzero(skipped).tolist()))
    tokenizer = TextTokenizer.load(tokenizer_folder)
    query, document = InputSpec("[Q]", 64), InputSpec("[D]", 512)
    write_encoder(Encoder(model.backbone, tokenizer, late, query, document), out, torch.float16)
    dense = Encoder(model.backbone, tokenizer, DenseHead(HIDDEN), query, document)
    write_dense_head(dense, out / "dense")
