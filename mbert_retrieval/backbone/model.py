"""ModernBERT (Warner et al. 2024, arXiv 2412.13663), packed from end to end.

A batch is one flat array of token ids and the offsets of its B sequences: nothing is padded.
Parameters are named as in the published checkpoints, so that a state dict loads unchanged.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import (
    AttentionPlan,
    attend,
    attend_on_cpu,
    has_cpu_kernel,
    has_varlen_kernel,
    plan_attention,
)
from .config import ModernBertConfig
from .rotary import fused_layers, rotate_qkv, rotation


def layer_norm(config: ModernBertConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=config.norm_bias)


class Batch:
    """What all layers share: the offsets, each token's rotation, and how attention is run.

    Args:
        config: Shape of the network.
        cu_seqlens: Offsets of the sequences, (B + 1,).
        dtype: Type of the hidden states.
        kernel_dtype: Type of queries and keys, which differs under autocast.
        attended: As in `ModernBert.forward`.
        dropout: Whether attention drops some of its weights.
    """

    def __init__(
        self,
        config: ModernBertConfig,
        cu_seqlens: Tensor,
        dtype: torch.dtype,
        kernel_dtype: torch.dtype,
        attended: Tensor | None,
        dropout: bool = False,
    ) -> None:
        self.cu_seqlens = cu_seqlens.to(torch.int32)
        lengths = cu_seqlens.diff()
        self.max_seqlen = int(lengths.max()) if len(lengths) else 0
        total = int(cu_seqlens[-1])
        positions = torch.arange(total, device=cu_seqlens.device)
        starts = torch.repeat_interleave(cu_seqlens[:-1].long(), lengths.long(), output_size=total)
        self._config = config
        self._positions = positions - starts  # (N,) of each token in its own sequence
        self._dtype = dtype
        self._attended = attended
        self.on_cpu = attended is None and has_cpu_kernel(
            cu_seqlens.device, kernel_dtype, config.head_dim
        )
        self._varlen = attended is None and has_varlen_kernel(
            cu_seqlens.device, kernel_dtype, dropout
        )
        self._rotations: dict[bool, Tensor] = {}
        self._plans: dict[bool, AttentionPlan] = {}

    def rotation(self, is_global: bool) -> Tensor:
        """Return the rotations of a global or a local layer; see `rotary.rotation`."""
        if is_global not in self._rotations:
            config = self._config
            theta = config.global_rope_theta if is_global else config.local_rope_theta
            self._rotations[is_global] = rotation(
                self._positions, config.head_dim, theta, self._dtype
            )
        return self._rotations[is_global]

    def plan(self, window: int | None) -> AttentionPlan | None:
        """Return the SDPA plan for a window, None when a CUDA kernel takes the batch."""
        if self._varlen:
            return None
        is_global = window is None or self.max_seqlen <= window + 1
        if is_global not in self._plans:
            self._plans[is_global] = plan_attention(
                self.cu_seqlens, None if is_global else window, self._attended
            )
        return self._plans[is_global]


class Embeddings(nn.Module):
    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        # not drawn by torch, which on the meta device imports its compiler for that: a second
        shape = config.vocab_size, config.hidden_size
        self.tok_embeddings = nn.Embedding(shape[0], shape[1], _weight=torch.empty(shape))
        self.norm = layer_norm(config)
        self.drop = nn.Dropout(config.embedding_dropout)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.drop(self.norm(self.tok_embeddings(input_ids)))  # (N, hidden)


class Attention(nn.Module):
    def __init__(self, config: ModernBertConfig, is_global: bool) -> None:
        super().__init__()
        self.heads, self.head_dim = config.num_attention_heads, config.head_dim
        self.is_global = is_global
        self.window = None if is_global else config.window
        self.dropout = config.attention_dropout
        self.Wqkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, config.attention_bias)
        self.Wo = nn.Linear(config.hidden_size, config.hidden_size, config.attention_bias)
        self.out_drop = nn.Dropout(config.attention_dropout)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        qkv = self.Wqkv(x).view(-1, 3, self.heads, self.head_dim)
        cos_sin = batch.rotation(self.is_global)
        if batch.on_cpu and not (self.training and self.dropout):
            out = attend_on_cpu(qkv, cos_sin, batch.cu_seqlens, self.window)
        else:
            out = attend(
                *rotate_qkv(qkv, cos_sin),
                batch.cu_seqlens,
                batch.max_seqlen,
                self.window,
                batch.plan(self.window),
                self.dropout if self.training else 0.0,
            )
        return self.out_drop(self.Wo(out.flatten(1)))  # (N, hidden)


class GeGLU(nn.Module):
    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.Wi = nn.Linear(config.hidden_size, 2 * config.intermediate_size, config.mlp_bias)
        self.Wo = nn.Linear(config.intermediate_size, config.hidden_size, config.mlp_bias)
        self.drop = nn.Dropout(config.mlp_dropout)

    def forward(self, x: Tensor) -> Tensor:
        both = self.Wi(x)  # (N, 2 x intermediate)
        if layers := fused_layers(both):
            return self.Wo(self.drop(layers.geglu(both)))
        a, gate = both.chunk(2, dim=-1)
        return self.Wo(self.drop(F.gelu(a) * gate))


class Layer(nn.Module):
    def __init__(self, config: ModernBertConfig, index: int) -> None:
        super().__init__()
        # the embeddings end in a norm already, so the first layer has none
        self.attn_norm = nn.Identity() if index == 0 else layer_norm(config)
        self.attn = Attention(config, config.global_layers[index])
        self.mlp_norm = layer_norm(config)
        self.mlp = GeGLU(config)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        x = x + self.attn(self.attn_norm(x), batch)
        return x + self.mlp(self.mlp_norm(x))


class ModernBert(nn.Module):
    """The network: token ids in, one contextual vector per token out.

    Args:
        config: Its shape.

    Example:
        >>> import torch
        >>> from mbert_retrieval.backbone import ModernBert, ModernBertConfig
        >>> config = ModernBertConfig(
        ...     vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2
        ... )
        >>> ids, cu_seqlens = torch.arange(5), torch.tensor([0, 2, 5])  # two sequences
        >>> ModernBert(config)(ids, cu_seqlens).shape
        torch.Size([5, 32])
    """

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_hidden_layers))
        self.final_norm = layer_norm(config)

    def forward(
        self, input_ids: Tensor, cu_seqlens: Tensor, attended: Tensor | None = None
    ) -> Tensor:
        """Encode a packed batch.

        Args:
            input_ids: Token ids, (N,) int64.
            cu_seqlens: Offsets of the sequences, (B + 1,) integers that rise from 0 to N.
            attended: (N,) bool, False for tokens that none attends to, not even themselves: the
                [MASK] tokens of ColBERT's query expansion.

        Returns:
            Hidden states, (N, hidden).

        Raises:
            ValueError: When ids and offsets do not fit together, or an id is not in the vocabulary.
        """
        if input_ids.ndim != 1 or int(cu_seqlens[-1]) != len(input_ids):
            raise ValueError(
                f"input_ids must be one-dimensional and cu_seqlens must end at its length: "
                f"{tuple(input_ids.shape)} against {int(cu_seqlens[-1])}"
            )
        if len(input_ids) == 0:
            return self.embeddings.norm(self.embeddings.tok_embeddings(input_ids))
        low, high = int(input_ids.min()), int(input_ids.max())
        if low < 0 or high >= self.config.vocab_size:
            raise ValueError(
                f"token id {low if low < 0 else high} is out of range: "
                f"the vocabulary has {self.config.vocab_size} entries"
            )
        x = self.embeddings(input_ids)  # (N, hidden)
        device = x.device.type
        autocast = torch.is_autocast_enabled(device)
        kernel_dtype = torch.get_autocast_dtype(device) if autocast else x.dtype
        dropout = self.training and self.config.attention_dropout > 0
        batch = Batch(self.config, cu_seqlens, x.dtype, kernel_dtype, attended, dropout)
        for layer in self.layers:
            if self.gradient_checkpointing and self.training:
                x = checkpoint(layer, x, batch, use_reentrant=False)
            else:
                x = layer(x, batch)
        return self.final_norm(x)


def initialise(model: nn.Module, config: ModernBertConfig, generator: torch.Generator) -> None:
    """Draw fresh weights as the reference does: normal, truncated at two standard deviations.

    Residual outputs (`Wo`, the heads' `dense`) are scaled down by sqrt(2 x layers), as in GPT-2.

    Args:
        model: The network, with or without a head.
        config: Its shape, with `initializer_range`.
        generator: Source of random numbers.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
        tied = name.endswith("decoder")
        if tied or not isinstance(module, nn.Linear | nn.Embedding):
            continue
        std = config.initializer_range
        if name.endswith(("Wo", "dense")):
            std /= math.sqrt(2.0 * config.num_hidden_layers)
        elif name.endswith("classifier"):
            std = config.hidden_size**-0.5
        nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std, generator=generator)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
