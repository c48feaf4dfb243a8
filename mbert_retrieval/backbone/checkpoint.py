"""Checkpoints: published Hugging Face folders in, folders that transformers loads out.

Only safetensors are read: nothing here unpickles, and no name inside a checkpoint leads out of its
folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..errors import InputError
from .config import ModernBertConfig
from .heads import Classifier, MaskedLM
from .model import ModernBert

Network = TypeVar("Network", ModernBert, MaskedLM, Classifier)

ARCHITECTURES = {
    ModernBert: "ModernBertModel",
    MaskedLM: "ModernBertForMaskedLM",
    Classifier: "ModernBertForSequenceClassification",
}
HEADS = ("head.", "decoder.", "classifier.")
HUB_FILES = ["*.json", "*.safetensors", "artifact.metadata"]  # the last is Stanford ColBERT's


def find_checkpoint(name: str | Path) -> Path:
    """The folder of a checkpoint: `name` itself, or a snapshot of that model on the hub.

    Raises InputError when there is neither.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    text = str(name)
    if text.count("/") > 1 or text.startswith((".", "/", "~")) or not text.strip():
        raise InputError(f"no such folder: {text}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(text, allow_patterns=HUB_FILES))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"unknown encoder {text!r}: no such folder, and the model hub gave nothing ({reason})"
        ) from error


def read_json(path: Path) -> dict:
    """A JSON object of a checkpoint folder. Raises InputError that names the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path.parent}: {path.name} is missing") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object")
    return value


def read_config(folder: Path) -> ModernBertConfig:
    """The network's shape. Raises InputError that names the folder."""
    raw = read_json(folder / "config.json")
    try:
        return ModernBertConfig.from_dict(raw)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of `model.safetensors`, or of the shards that its index names."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return read_safetensors(folder / "model.safetensors")
    if not index.is_file():
        hint = ""
        if (folder / "pytorch_model.bin").is_file():
            hint = " (pytorch_model.bin is a pickle and is not read: convert it to safetensors)"
        raise InputError(f"{folder}: model.safetensors is missing{hint}")
    shards = sorted(set(read_json(index).get("weight_map", {}).values()))
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard or shard in ("", ".", ".."):
            raise InputError(f"{index}: shard name {shard!r} is not a plain file name")
        tensors |= read_safetensors(folder / shard)
    return tensors


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """One safetensors file. Raises InputError for a missing, truncated or foreign file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path.parent}: {path.name} is missing") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: truncated or not a safetensors file ({error})") from error


def backbone_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of the backbone under their bare names: no `model.` prefix, no heads."""
    return {
        name.removeprefix("model."): tensor
        for name, tensor in tensors.items()
        if not name.startswith(HEADS)
    }


def fill(module: nn.Module, tensors: dict[str, Tensor], where: Path | str) -> None:
    """Copy tensors into a module of the same names and shapes.

    Raises InputError that names the first missing, unexpected or wrong-shaped tensor.
    """
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - tensors), sorted(tensors.keys() - own)
    for problem, names in (("lacks", missing), ("has an unknown", unexpected)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(f"{where}: the checkpoint {problem} tensor {names[0]}{more}")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise InputError(
                f"{where}: {name} has shape {tuple(tensor.shape)}, "
                f"config.json asks for {tuple(own[name].shape)}"
            )
    module.load_state_dict(tensors)


def load_network(
    kind: type[Network], folder: str | Path, dtype: torch.dtype = torch.float32
) -> Network:
    """A network with the weights of a folder or of a hub checkpoint, in evaluation mode.

    kind: ModernBert (any heads in the checkpoint are left aside), MaskedLM or Classifier.
    Tensors may carry the `model.` prefix or not, may be sharded, and are converted to `dtype`.
    Raises InputError for another architecture and for missing, unknown or wrong-shaped tensors.
    """
    folder = find_checkpoint(folder)
    config = read_config(folder)
    tensors = read_tensors(folder)
    backbone = backbone_tensors(tensors)
    with torch.device("meta"):
        network = kind(config)
    network.to_empty(device="cpu")
    if isinstance(network, ModernBert):
        tensors = backbone
    else:
        tensors = {name: tensor for name, tensor in tensors.items() if name.startswith(HEADS)}
        tensors |= {f"model.{name}": tensor for name, tensor in backbone.items()}
    if isinstance(network, MaskedLM):
        network.decoder.weight = network.model.embeddings.tok_embeddings.weight
        tensors["decoder.weight"] = tensors.get(
            "model.embeddings.tok_embeddings.weight", torch.empty(0)
        )
    fill(network, tensors, folder)
    return network.to(dtype).eval()


def save_network(
    network: ModernBert | MaskedLM | Classifier,
    folder: str | Path,
    dtype: torch.dtype | None = None,
) -> None:
    """Write `config.json` and `model.safetensors` as transformers 4 and 5 read them.

    dtype: how floating-point tensors are stored; as they are by default.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().to(dtype or tensor.dtype).contiguous()
        for name, tensor in network.state_dict().items()
        if name != "decoder.weight"  # tied to the token embeddings
    }
    stored = next(iter(tensors.values())).dtype
    raw = network.config.to_dict(ARCHITECTURES[type(network)])
    raw["dtype"] = raw["torch_dtype"] = str(stored).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
