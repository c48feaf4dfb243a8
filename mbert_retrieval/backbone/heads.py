"""Heads on the backbone: masked language modelling and sequence classification."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModernBertConfig
from .model import ModernBert, layer_norm


class PredictionHead(nn.Module):
    """Dense, gelu, norm: (M, hidden) to (M, hidden)."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, config.classifier_bias)
        self.norm = layer_norm(config)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(x)))


class MaskedLM(nn.Module):
    """Logits over the vocabulary, with the decoder's weight tied to the token embeddings."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.config = config
        self.model = ModernBert(config)
        self.head = PredictionHead(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size, config.decoder_bias)
        self.decoder.weight = self.model.embeddings.tok_embeddings.weight

    def forward(
        self, input_ids: Tensor, cu_seqlens: Tensor, predicted: Tensor | None = None
    ) -> Tensor:
        """predicted: (M,) positions whose logits are wanted (in training, the masked ones: the
        rest of the vocabulary product is not paid for); all N by default. Returns (M, vocab)."""
        x = self.model(input_ids, cu_seqlens)  # (N, hidden)
        if predicted is not None:
            x = x[predicted]
        return self.decoder(self.head(x))


class Classifier(nn.Module):
    """One row of label logits a sequence, pooled from [CLS] or from the mean of its tokens."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.config = config
        self.model = ModernBert(config)
        self.head = PredictionHead(config)
        self.drop = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor) -> Tensor:
        x = self.model(input_ids, cu_seqlens)  # (N, hidden)
        if self.config.classifier_pooling == "cls":
            pooled = x[cu_seqlens[:-1].long()]  # (B, hidden)
        else:
            pooled = torch.segment_reduce(x, "mean", lengths=cu_seqlens.diff().long())
        return self.classifier(self.drop(self.head(pooled)))  # (B, labels)
