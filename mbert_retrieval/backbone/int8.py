"""Matrix products in int8 on the CPU: a scale per row of weights and per token of activations.

That is the dynamic W8A8 of Xiao et al. 2023, without smoothing.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .attention import as_array, from_array
from .model import GeGLU


def has_int8_products() -> bool:
    """Tell whether the package is installed with its compiled kernels."""
    from ..native import kernels

    return kernels.TIER != "numpy"


def int8_is_fast() -> bool:
    """Tell whether int8 products are the fastest of all on this processor's tier."""
    from ..native import kernels

    return kernels.INT8_IS_FAST


def quantise(network: nn.Module) -> None:
    """Run the network's matrix products in int8 wherever no gradient is needed.

    Its parameters stay as they are, beside packed copies of them in int8.

    Args:
        network: The network, whose layers are replaced.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and not (child.in_features % 16 or child.out_features % 16):
                setattr(module, name, Int8Linear(child))
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is GeGLU and isinstance(child.Wo, Int8Linear):
                setattr(module, name, Int8GeGLU(child))


# numbers, scales and offsets, see native/kernels.pyi
PackedWeights = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int32]]


def _is_exact(x: Tensor) -> bool:
    """Tell whether x takes the unquantised parameters: for a gradient, or not on the CPU."""
    return torch.is_grad_enabled() or x.device.type != "cpu"


class Int8Linear(nn.Linear):
    """A linear layer with the same parameters, float32 or bfloat16 in and out.

    Args:
        linear: The layer that it replaces.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self._packed: PackedWeights | None = None
        self._version = -1

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if _is_exact(x) else self.product(x)

    def product(self, x: Tensor, gated: bool = False) -> Tensor:
        """Compute the product in int8; of gelu(first half) * second half of x where `gated`."""
        from ..native import kernels

        version = -1 if self.weight.is_inference() else self.weight._version
        if self._packed is None or self._version != version:
            self._packed = kernels.pack_weights(self.weight.detach().float().numpy())
            self._version = version
        rows = as_array(x.reshape(-1, x.shape[-1]))
        out = from_array(kernels.product(rows, *self._packed, gated, torch.get_num_threads()))
        out = out.view(*x.shape[:-1], self.out_features)
        return out if self.bias is None else out + self.bias


class Int8GeGLU(GeGLU):
    """A GeGLU that applies its gate while quantising, so that the gated values are never stored.

    Args:
        geglu: The layer that it replaces.
    """

    def __init__(self, geglu: GeGLU) -> None:
        nn.Module.__init__(self)
        self.Wi, self.Wo, self.drop = geglu.Wi, geglu.Wo, geglu.drop
        self.training = geglu.training

    def forward(self, x: Tensor) -> Tensor:
        if _is_exact(x) or (self.training and self.drop.p):
            return super().forward(x)
        assert isinstance(self.Wo, Int8Linear)
        return self.Wo.product(self.Wi(x), gated=True)
