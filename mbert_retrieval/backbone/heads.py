"""Heads on the backbone: masked language modelling and sequence classification."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModernBertConfig
from .model import ModernBert, layer_norm


class PredictionHead(nn.Module):
    """Linear layer, gelu, norm: (M, hidden) to (M, hidden)."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, config.classifier_bias)
        self.norm = layer_norm(config)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(x)))


class MaskedLM(nn.Module):
    """Logits over the vocabulary; the decoder's weight is tied to the token embeddings.

    Args:
        config: Shape of the network.
    """

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
        """Predict tokens.

        Args:
            input_ids: Token ids, (N,) int64.
            cu_seqlens: Offsets of the sequences, (B + 1,).
            predicted: Positions to compute logits for, (M,); in training the masked ones, which
                saves most of the vocabulary product. All N by default.

        Returns:
            Logits, (M, vocab).
        """
        x = self.model(input_ids, cu_seqlens)  # (N, hidden)
        if predicted is not None:
            x = x[predicted]
        return self.decoder(self.head(x))


class Classifier(nn.Module):
    """Label logits per sequence, from [CLS] or from the mean of the tokens.

    Args:
        config: Shape of the network, with `classifier_pooling` and `num_labels`.
    """

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.config = config
        self.model = ModernBert(config)
        self.head = PredictionHead(config)
        self.drop = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor) -> Tensor:
        """Classify packed sequences, (N,) ids with (B + 1,) offsets; returns (B, labels)."""
        x = self.model(input_ids, cu_seqlens)  # (N, hidden)
        if self.config.classifier_pooling == "cls":
            pooled = x[cu_seqlens[:-1].long()]  # (B, hidden)
        else:
            pooled = torch.segment_reduce(x, "mean", lengths=cu_seqlens.diff().long())
        return self.classifier(self.drop(self.head(pooled)))  # (B, labels)
