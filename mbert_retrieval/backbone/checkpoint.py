"""Load checkpoints that Hugging Face publishes, and save checkpoints that transformers loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..errors import InputError
from .arrays import check_tensors
from .files import HEADS, bare_names, find_checkpoint, read_config, weight_files
from .heads import Classifier, MaskedLM
from .model import ModernBert
from .numpy_model import tensor_shapes

Network = TypeVar("Network", ModernBert, MaskedLM, Classifier)

ARCHITECTURES = {
    ModernBert: "ModernBertModel",
    MaskedLM: "ModernBertForMaskedLM",
    Classifier: "ModernBertForSequenceClassification",
}


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Read all tensors of `model.safetensors`, or of the shards that its index names."""
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        tensors |= read_safetensors(path)
    return tensors


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file. Raise InputError if it is missing, truncated or something else."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path.parent}: {path.name} is missing") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: truncated or not a safetensors file ({error})") from error


def backbone_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Select the tensors of the backbone and drop the `model.` prefix of their names."""
    return {bare: tensors[name] for bare, name in bare_names(list(tensors)).items()}


def fill(module: nn.Module, tensors: dict[str, Tensor], where: Path | str) -> None:
    """Copy tensors into a module of the same names and shapes.

    Args:
        module: The module.
        tensors: A tensor for every name in its state dict.
        where: Folder or file that an error message names.

    Raises:
        InputError: Names the first tensor that is missing, unexpected, of a wrong shape, or not of
            finite floats.
    """
    check_tensors(shapes(tensors), shapes(module.state_dict()), where)
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise InputError(f"{where}: tensor {name} is stored as {tensor.dtype}, not as floats")
        # a sum is finite unless a value is not, or the sum overflows
        if not (tensor.float().sum().isfinite() or tensor.float().isfinite().all()):
            raise InputError(f"{where}: tensor {name} has values that are no finite numbers")
    module.load_state_dict(tensors)


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def load_network(
    kind: type[Network], folder: str | Path, dtype: torch.dtype = torch.float32
) -> Network:
    """Load a network from a folder or from the hub.

    Tensors may have the `model.` prefix or not, and may be sharded.

    Args:
        kind: ModernBert (heads in the checkpoint are ignored), MaskedLM or Classifier.
        folder: A checkpoint folder, or a model of the Hugging Face hub.
        dtype: The type that weights are converted to.

    Returns:
        The network, in evaluation mode.

    Raises:
        InputError: For another architecture, and for missing, unknown or wrong-shaped tensors.

    Example:
        >>> from pathlib import Path
        >>> import mbert_retrieval.encoders
        >>> from mbert_retrieval.backbone import ModernBert, load_network
        >>> nano = Path(mbert_retrieval.encoders.__file__).parent / "nano"
        >>> load_network(ModernBert, nano).config.hidden_size
        256
    """
    folder = find_checkpoint(folder)
    config = read_config(folder)
    tensors = read_tensors(folder)
    backbone = backbone_tensors(tensors)
    check_tensors(shapes(backbone), tensor_shapes(config), folder)  # before memory is taken
    with torch.device("meta"):
        network = kind(config)
    if isinstance(network, ModernBert):
        tensors = backbone
    else:
        tensors = {name: tensor for name, tensor in tensors.items() if name.startswith(HEADS)}
        tensors |= {f"model.{name}": tensor for name, tensor in backbone.items()}
    if isinstance(network, MaskedLM):
        tensors["decoder.weight"] = tensors.get(
            "model.embeddings.tok_embeddings.weight", torch.empty(0)
        )
    check_tensors(shapes(tensors), shapes(network.state_dict()), folder)
    network.to_empty(device="cpu")
    if isinstance(network, MaskedLM):
        network.decoder.weight = network.model.embeddings.tok_embeddings.weight
    fill(network, tensors, folder)
    return network.to(dtype).eval()


def save_network(
    network: ModernBert | MaskedLM | Classifier,
    folder: str | Path,
    dtype: torch.dtype | None = None,
) -> None:
    """Write `config.json` and `model.safetensors`, which transformers 4 and 5 load.

    Args:
        network: The network.
        folder: Where to write; created if need be.
        dtype: How floating-point tensors are stored; None stores them as they are.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().to(dtype or tensor.dtype).contiguous()
        for name, tensor in network.state_dict().items()
        if name != "decoder.weight"  # tied to the token embeddings
    }
    save_config(network, folder, next(iter(tensors.values())).dtype)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def save_config(
    network: ModernBert | MaskedLM | Classifier, folder: Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write `config.json` alone, for tensors that are stored as `dtype`."""
    raw = network.config.to_dict(ARCHITECTURES[type(network)])
    raw["dtype"] = raw["torch_dtype"] = str(dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
