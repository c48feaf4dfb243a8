"""Find, check and read the files of a checkpoint folder, without torch.

Weights are read from safetensors alone: nothing is unpickled, and no name inside a checkpoint leads
out of its folder.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import InputError
from .config import ModernBertConfig

HEADS = ("head.", "decoder.", "classifier.")
HUB_FILES = ["*.json", "*.safetensors", "artifact.metadata"]  # the last is Stanford ColBERT's


def find_checkpoint(name: str | Path) -> Path:
    """Return the folder of a checkpoint, after downloading it if need be.

    Args:
        name: A folder, or a model of the Hugging Face hub.

    Returns:
        The folder, or the hub's snapshot of the model.

    Raises:
        InputError: When there is neither.
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
    """Read a JSON object of a checkpoint folder. Raise InputError that names the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path.parent}: {path.name} is missing") from None
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object")
    return value


def read_config(folder: Path) -> ModernBertConfig:
    """Read the network's shape. Raise InputError that names the folder."""
    raw = read_json(folder / "config.json")
    try:
        return ModernBertConfig.from_dict(raw)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error


def weight_files(folder: Path) -> list[Path]:
    """Find `model.safetensors`, or the shards that its index names.

    Args:
        folder: A checkpoint folder.

    Returns:
        The paths.

    Raises:
        InputError: When there is neither, or a shard's name is not a plain file name.
    """
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if not index.is_file():
        hint = ""
        if (folder / "pytorch_model.bin").is_file():
            hint = " (pytorch_model.bin is a pickle and is not read: convert it to safetensors)"
        raise InputError(f"{folder}: model.safetensors is missing{hint}")
    names = read_json(index).get("weight_map")
    shards = list(names.values()) if isinstance(names, dict) else []
    if not shards:
        raise InputError(f"{index}: weight_map names no files")
    for shard in shards:
        plain = isinstance(shard, str) and Path(shard).name == shard and shard not in (".", "..")
        if not plain or len(shard) > 255 or "\0" in shard:
            raise InputError(f"{index}: shard name {str(shard)[:60]!r} is not a plain file name")
    return [folder / shard for shard in sorted(set(shards))]


def bare_names(names: list[str]) -> dict[str, str]:
    """Map the backbone's tensor names, without `model.` prefix and heads, to the stored names."""
    return {name.removeprefix("model."): name for name in names if not name.startswith(HEADS)}
