"""`EncoderSpec`: what an encoder folder describes, whatever runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..backbone.arrays import StoredArray, Weights, read_arrays
from ..backbone.config import ModernBertConfig
from ..backbone.files import bare_names, weight_files
from ..backbone.numpy_model import tensor_shapes
from ..errors import InputError
from .inputs import InputSpec
from .settings import Settings
from .tokens import TextTokenizer

ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU")  # of torch.nn
POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
STANFORD_PROJECTION = "linear.weight"
ONNX_GRAPH = Path("onnx") / "model.onnx"


@dataclass(frozen=True)
class Projection:
    """A `Dense` layer, weights aside.

    Attributes:
        in_features: Width of the input.
        out_features: Width of the output.
        bias: Whether the linear layer has a bias.
        activation: One of ACTIVATIONS.
        use_residual: Whether the input is added to the output, projected when the widths differ.
        folder: Where its weights are; None when they are stored with the backbone's, as in
            Stanford's checkpoints.
    """

    in_features: int
    out_features: int
    bias: bool = True
    activation: str = "Identity"
    use_residual: bool = False
    folder: Path | None = None

    @classmethod
    def read(cls, folder: Path) -> Projection:
        """Read the settings of a layer's folder. Raise InputError if it is not supported."""
        raw = Settings.read(folder / "config.json")
        name = raw.text("activation_function", "torch.nn.modules.activation.Tanh")
        activation = name.rpartition(".")[2]
        if not name.startswith("torch.nn.") or activation not in ACTIVATIONS:
            raise InputError(f"{folder}: activation_function {name[:60]!r} is not supported")
        return cls(
            raw.required_integer("in_features"),
            raw.required_integer("out_features"),
            raw.boolean("bias", True),
            activation,
            raw.boolean("use_residual"),
            folder,
        )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor, by name."""
        shapes: dict[str, tuple[int, ...]] = {
            "linear.weight": (self.out_features, self.in_features)
        }
        if self.bias:
            shapes["linear.bias"] = (self.out_features,)
        if self.use_residual and self.in_features != self.out_features:
            shapes["residual.weight"] = (self.out_features, self.in_features)
        return shapes


@dataclass(frozen=True)
class DenseHeadSpec:
    """A head that gives one vector per text; see `heads.DenseHead` for the fields."""

    hidden_size: int
    poolings: tuple[str, ...] = ("mean",)
    projections: tuple[Projection, ...] = ()
    include_prompt: bool = True
    truncate: int | None = None
    normalize: bool = True

    kind = "dense"
    skiplist: tuple[int, ...] = ()

    @property
    def dimension(self) -> int:
        full = self.hidden_size * len(self.poolings)
        if self.projections:
            full = self.projections[-1].out_features
        return min(self.truncate, full) if self.truncate else full


@dataclass(frozen=True)
class LateHeadSpec:
    """A head that gives one vector per token; see `heads.LateHead` for the fields."""

    projections: tuple[Projection, ...]
    skiplist: tuple[int, ...] = ()

    kind = "late"

    @property
    def dimension(self) -> int:
        return self.projections[-1].out_features


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder folder, read except for its weights.

    Attributes:
        folder: Where backbone and tokenizer are.
        config: Shape of the network.
        tokenizer: The tokenizer.
        head: The head, weights aside.
        query: How queries are read.
        document: How documents are read.
        pool_factor: Token pooling of documents, late interaction only; 1 keeps every vector.
    """

    folder: Path
    config: ModernBertConfig
    tokenizer: TextTokenizer
    head: DenseHeadSpec | LateHeadSpec
    query: InputSpec
    document: InputSpec
    pool_factor: float = 1.0

    @property
    def is_onnx(self) -> bool:
        """Whether the folder has an ONNX graph in place of weights."""
        stored = ("model.safetensors", "model.safetensors.index.json")
        return (self.folder / ONNX_GRAPH).is_file() and not any(
            (self.folder / name).is_file() for name in stored
        )

    @property
    def projection_files(self) -> list[Path]:
        """The weight files of the projections."""
        return [p.folder / "model.safetensors" for p in self.head.projections if p.folder]

    @property
    def weight_files(self) -> list[Path]:
        """All weight files. Raise InputError when the backbone has none."""
        return [*weight_files(self.folder), *self.projection_files]

    def weights(self) -> tuple[Weights, list[Weights]]:
        """Read the tensors of the backbone, and of each projection.

        Returns:
            The backbone's tensors, and one set of tensors per projection.

        Raises:
            InputError: For missing, unknown or wrong-shaped tensors.
            UnknownDtype: For tensors in a type that numpy lacks.
        """
        stored: dict[str, StoredArray] = {}
        for path in weight_files(self.folder):
            stored |= read_arrays(path)
        projections = self.projection_weights(stored)
        if any(projection.folder is None for projection in self.head.projections):
            del stored[STANFORD_PROJECTION]
        bare = {bare: stored[name] for bare, name in bare_names(list(stored)).items()}
        return Weights(bare, tensor_shapes(self.config), self.folder), projections

    def projection_weights(self, beside: Mapping[str, StoredArray] | None = None) -> list[Weights]:
        """Read the tensors of each projection.

        Args:
            beside: The backbone's tensors, which include the projection of a Stanford checkpoint.

        Returns:
            One set of tensors per projection.
        """
        weights = []
        for projection in self.head.projections:
            if projection.folder is not None:
                arrays = read_arrays(projection.folder / "model.safetensors")
            else:
                arrays = {"linear.weight": (beside or {})[STANFORD_PROJECTION]}
            where = projection.folder or self.folder
            weights.append(Weights(arrays, projection.shapes, where))
        return weights

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield name and float32 array of each tensor of the backbone, then of the head.

        Names are those of the torch modules' `state_dict`, sorted. Raises what `weights` raises.
        """
        backbone, projections = self.weights()
        for name in sorted(backbone):
            yield name, backbone[name]
        head = {
            f"layers.{i}.{name}": (weights, name)
            for i, weights in enumerate(projections)
            for name in weights
        }
        for full in sorted(head):
            weights, name = head[full]
            yield full, weights[name]
