"""The files of a checkpoint folder: found, checked and read without torch.

Only safetensors are read: nothing here unpickles, and no name inside a checkpoint leads out of its
folder.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import InputError
from .config import ModernBertConfig

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


def weight_files(folder: Path) -> list[Path]:
    """`model.safetensors`, or the shards that its index names.

    Raises InputError where there is neither, and for a shard that is not a plain file name.
    """
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if not index.is_file():
        hint = ""
        if (folder / "pytorch_model.bin").is_file():
            hint = " (pytorch_model.bin is a pickle and is not read: convert it to safetensors)"
        raise InputError(f"{folder}: model.safetensors is missing{hint}")
    shards = sorted(set(read_json(index).get("weight_map", {}).values()))
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard or shard in ("", ".", ".."):
            raise InputError(f"{index}: shard name {shard!r} is not a plain file name")
    return [folder / shard for shard in shards]


def bare_names(names: list[str]) -> dict[str, str]:
    """Tensor names of the backbone, as stored, under their bare names: no `model.` prefix, no
    heads. {bare name: stored name}."""
    return {name.removeprefix("model."): name for name in names if not name.startswith(HEADS)}
