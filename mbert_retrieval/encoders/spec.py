"""What an encoder folder describes, whoever runs it: the shape of the network and of its head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..backbone.arrays import StoredArray, Weights, read_arrays
from ..backbone.config import ModernBertConfig
from ..backbone.files import bare_names, read_json, weight_files
from ..backbone.numpy_model import tensor_shapes
from ..errors import InputError
from .inputs import InputSpec
from .tokens import TextTokenizer

ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU")  # of torch.nn
POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
STANFORD_PROJECTION = "linear.weight"
ONNX_GRAPH = Path("onnx") / "model.onnx"


@dataclass(frozen=True)
class Projection:
    """A `Dense` layer. folder: where its weights are; None where they are with the backbone's, as
    in Stanford's checkpoints."""

    in_features: int
    out_features: int
    bias: bool = True
    activation: str = "Identity"
    use_residual: bool = False
    folder: Path | None = None

    @classmethod
    def read(cls, folder: Path) -> Projection:
        """Raises InputError for an activation outside torch.nn, or settings that are missing."""
        raw = read_json(folder / "config.json")
        name = str(raw.get("activation_function", "torch.nn.modules.activation.Tanh"))
        activation = name.rpartition(".")[2]
        if not name.startswith("torch.nn.") or activation not in ACTIVATIONS:
            raise InputError(f"{folder}: activation_function {name!r} is not supported")
        try:
            return cls(
                int(raw["in_features"]),
                int(raw["out_features"]),
                bool(raw.get("bias", True)),
                activation,
                bool(raw.get("use_residual", False)),
                folder,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{folder}/config.json: {error} is missing or wrong") from error

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Its tensors, {name: shape}."""
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
    """One vector a text; see `heads.DenseHead`."""

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
    """One vector a token; see `heads.LateHead`."""

    projections: tuple[Projection, ...]
    skiplist: tuple[int, ...] = ()

    kind = "late"

    @property
    def dimension(self) -> int:
        return self.projections[-1].out_features


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder folder, read but for its weights. folder: where backbone and tokenizer are."""

    folder: Path
    config: ModernBertConfig
    tokenizer: TextTokenizer
    head: DenseHeadSpec | LateHeadSpec
    query: InputSpec
    document: InputSpec
    pool_factor: float = 1.0

    @property
    def is_onnx(self) -> bool:
        """Whether the network is there as an ONNX graph alone."""
        stored = ("model.safetensors", "model.safetensors.index.json")
        return (self.folder / ONNX_GRAPH).is_file() and not any(
            (self.folder / name).is_file() for name in stored
        )

    @property
    def projection_files(self) -> list[Path]:
        """The projections' own files."""
        return [p.folder / "model.safetensors" for p in self.head.projections if p.folder]

    @property
    def weight_files(self) -> list[Path]:
        """All files with tensors. Raises InputError where the backbone has none."""
        return [*weight_files(self.folder), *self.projection_files]

    def weights(self) -> tuple[Weights, list[Weights]]:
        """The backbone's tensors and each projection's.

        Raises InputError where tensors are missing, unknown or wrong-shaped, UnknownDtype where
        numpy cannot hold one.
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
        """Each projection's tensors. beside: the backbone's, among which Stanford's
        projection is."""
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
        """(name, float32 array) of backbone and head, each in the order of names, as `state_dict`
        of the torch encoder names them. Raises as `weights`."""
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
