"""all-MiniLM-L6-v2, the teacher of `nano`, over packed batches: no padding, bfloat16, two threads.

On a CPU it takes a fraction of sentence-transformers' time; `teach.py` compares the vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from mbert_retrieval.backbone.attention import attend_on_cpu

LAYERS, HEADS, HEAD_DIMENSION, EPSILON = 6, 12, 32, 1e-12
BATCH_TOKENS = 1024  # what its widest layer writes stays in the cache


class MiniLM:
    """folder: The published checkpoint. threads: Batches encoded at the same time."""

    def __init__(self, folder: Path, max_tokens: int, threads: int) -> None:
        raw = load_file(folder / "model.safetensors")
        self.weights = {name: w.bfloat16() for name, w in raw.items() if w.is_floating_point()}
        for i in range(LAYERS):
            for kind in ("weight", "bias"):
                parts = [
                    self.weights.pop(f"encoder.layer.{i}.attention.self.{part}.{kind}")
                    for part in ("query", "key", "value")
                ]
                self.weights[f"encoder.layer.{i}.attention.qkv.{kind}"] = torch.cat(parts)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_tokens)
        self.threads = threads

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, 384) float16 of unit norm."""
        ids = [e.ids for e in self.tokenizer.encode_batch_fast(list(texts))]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        batches: list[list[int]] = [[]]
        filled = 0
        for i in order:
            if filled + len(ids[i]) > BATCH_TOKENS and batches[-1]:
                batches.append([])
                filled = 0
            batches[-1].append(i)
            filled += len(ids[i])
        vectors = np.empty((len(texts), 384), np.float16)
        torch.set_num_threads(1)
        with ThreadPoolExecutor(self.threads) as pool:
            encoded = pool.map(lambda rows: self._forward([ids[i] for i in rows]), batches)
            for rows, batch_vectors in zip(batches, encoded, strict=True):
                vectors[rows] = batch_vectors
        return vectors

    @torch.inference_mode()
    def _forward(self, ids: list[list[int]]) -> np.ndarray:
        lengths = torch.tensor([len(row) for row in ids])
        cu_seqlens = F.pad(lengths.cumsum(0), (1, 0))
        positions = torch.cat([torch.arange(len(row)) for row in ids])
        w = self.weights
        x = w["embeddings.word_embeddings.weight"][torch.tensor([t for row in ids for t in row])]
        x = x + w["embeddings.position_embeddings.weight"][positions]
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings")
        # BERT's positions are in its embeddings: rotary embeddings that rotate by nothing
        still = torch.zeros(2, len(positions), 1, HEAD_DIMENSION // 2)
        still[0] = 1
        for i in range(LAYERS):
            layer = f"encoder.layer.{i}"
            qkv = self._linear(x, f"{layer}.attention.qkv")  # (N, 3 * 384)
            qkv = qkv.view(-1, 3, HEADS, HEAD_DIMENSION)
            seen = attend_on_cpu(qkv, still, cu_seqlens, None).flatten(1)
            x = self._norm(
                x + self._linear(seen, f"{layer}.attention.output.dense"),
                f"{layer}.attention.output",
            )
            wide = F.gelu(self._linear(x, f"{layer}.intermediate.dense"))
            x = self._norm(x + self._linear(wide, f"{layer}.output.dense"), f"{layer}.output")
        pooled = torch.segment_reduce(x.float(), "mean", lengths=lengths, unsafe=True)
        return F.normalize(pooled, dim=1).half().numpy()

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = (self.weights[f"{name}.LayerNorm.{kind}"] for kind in ("weight", "bias"))
        return F.layer_norm(x, x.shape[-1:], weight, bias, EPSILON)
