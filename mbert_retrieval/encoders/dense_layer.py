"""The projection layer that sentence-transformers and PyLate call `Dense`."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from ..backbone.arrays import check_tensors
from ..backbone.checkpoint import fill, read_safetensors, shapes
from .spec import ACTIVATIONS, Projection

MODULES: dict[str, type[nn.Module]] = {name: getattr(nn, name) for name in ACTIVATIONS}


class Dense(nn.Module):
    """A linear layer and an activation: (M, in_features) to (M, out_features).

    Args:
        in_features: Width of the input.
        out_features: Width of the output.
        bias: Whether the linear layer has a bias.
        activation: One of `spec.ACTIVATIONS`.
        use_residual: Whether the input is added to the output, projected when the widths differ.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        activation: str = "Identity",
        use_residual: bool = False,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias)
        self.activation_name = activation
        self.activation = MODULES[activation]()
        self.use_residual = use_residual
        if use_residual and in_features != out_features:
            self.residual = nn.Linear(in_features, out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.activation(self.linear(x))
        if self.use_residual:
            out = out + (self.residual(x) if hasattr(self, "residual") else x)
        return out

    @property
    def spec(self) -> Projection:
        """The layer, weights aside."""
        return Projection(
            self.linear.in_features,
            self.linear.out_features,
            self.linear.bias is not None,
            self.activation_name,
            self.use_residual,
        )

    @classmethod
    def build(cls, projection: Projection) -> Dense:
        """Build a layer of that shape, with weights still to be loaded."""
        return cls(
            projection.in_features,
            projection.out_features,
            projection.bias,
            projection.activation,
            projection.use_residual,
        )

    @classmethod
    def load(cls, folder: Path) -> Dense:
        """Load a layer's folder. Raise InputError if it is broken or not supported."""
        projection = Projection.read(folder)
        tensors = read_safetensors(folder / "model.safetensors")
        check_tensors(shapes(tensors), projection.shapes, folder)  # before memory is taken
        layer = cls.build(projection)
        fill(layer, tensors, folder)
        return layer

    def save(self, folder: Path) -> None:
        """Write the weights and the four settings that every reader knows."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        module = MODULES[self.activation_name]
        raw = {
            "in_features": self.linear.in_features,
            "out_features": self.linear.out_features,
            "bias": self.linear.bias is not None,
            "activation_function": f"{module.__module__}.{module.__name__}",
        }
        if self.use_residual:
            raw["use_residual"] = True
        (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
        tensors = {n: t.detach().to(torch.float32) for n, t in self.state_dict().items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
