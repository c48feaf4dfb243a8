"""Read encoder folders: sentence-transformers (before and since 6.2), PyLate, Stanford ColBERT.

The differences between the formats end here: whatever the format, the result is an `EncoderSpec`.
Nothing here imports torch or reads weights.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

from ..backbone.config import ModernBertConfig
from ..backbone.files import read_config, read_json, weight_files
from ..errors import InputError
from .inputs import InputSpec, QueryExpansion
from .spec import (
    POOLINGS,
    STANFORD_PROJECTION,
    DenseHeadSpec,
    EncoderSpec,
    LateHeadSpec,
    Projection,
)
from .tokens import TextTokenizer

LEGACY_POOLINGS = {  # the six flags of 1_Pooling/config.json before sentence-transformers 5.3
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
DENSE_HEAD = "dense"  # subfolder with a second, dense head on the same backbone (this package only)


def read_spec(
    folder: Path, head: str | None, truncate: int | None = None, pool_factor: float = 1.0
) -> EncoderSpec:
    """Read a folder of any of the formats.

    Args:
        folder: The folder.
        head: "dense" or "late" for a folder with both heads; None for its main one.
        truncate: Keep this many leading dimensions, dense only.
        pool_factor: Token pooling of documents, late interaction only.

    Returns:
        What the folder describes.

    Raises:
        InputError: When the folder is broken, not supported, or lacks that head.
    """
    kind = folder_kind(folder)
    second = folder / DENSE_HEAD
    settings_folder = folder
    if head == "dense" and kind == "late":
        if not (second / "modules.json").is_file():
            raise InputError(f"{folder} is a late-interaction checkpoint without a dense head")
        settings_folder, kind = second, "dense"
    if head == "late" and kind == "dense":
        raise InputError(f"{folder} is a dense checkpoint without a late-interaction head")
    if kind == "dense":
        if pool_factor != 1:
            raise InputError("token pooling needs a late-interaction encoder")
        return _read_dense(folder, settings_folder, truncate)
    if truncate is not None:
        raise InputError("truncation (Matryoshka) needs a dense encoder")
    if _is_stanford(folder):
        return _read_stanford(folder, pool_factor)
    return _read_late(folder, pool_factor)


def folder_kind(folder: Path) -> str:
    """Return "dense" or "late", by the folder's files. Raise InputError for other models."""
    if _is_stanford(folder):
        return "late"
    model_type = _settings(folder).get("model_type")
    if model_type in ("ColBERT", "MultiVectorEncoder"):
        return "late"
    if model_type in (None, "SentenceTransformer"):
        kinds = [kind for kind, _ in _modules(folder)]
        return "late" if "MultiVectorMask" in kinds else "dense"
    raise InputError(f"{folder}: model_type {model_type!r} is neither dense nor late interaction")


def _is_stanford(folder: Path) -> bool:
    return "HF_ColBERT" in (read_json(folder / "config.json").get("architectures") or [])


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "config_sentence_transformers.json"
    return read_json(path) if path.is_file() else {}


def _transformer_settings(folder: Path) -> dict[str, Any]:
    path = folder / "sentence_bert_config.json"
    return read_json(path) if path.is_file() else {}


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """Return class name and folder of each module in modules.json, none without that file.

    Raises InputError for a path that leads out of the folder.
    """
    path = folder / "modules.json"
    if not path.is_file():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        modules = [(str(e["type"]).rpartition(".")[2], str(e["path"])) for e in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a list of modules ({error})") from error
    root = folder.resolve()
    for _, relative in modules:
        if not (root / relative).resolve().is_relative_to(root):
            raise InputError(f"{path}: {relative!r} leads out of the folder")
    return [(class_name, folder / relative) for class_name, relative in modules]


def _tokenizer(folder: Path) -> TextTokenizer:
    lower_case = bool(_transformer_settings(folder).get("do_lower_case"))
    return TextTokenizer.load(folder, lower_case)


def _limit(folder: Path, tokenizer: TextTokenizer, config: ModernBertConfig) -> int:
    """Return the most tokens of a text that the folder's settings allow."""
    own = _transformer_settings(folder).get("max_seq_length") or tokenizer.model_max_length
    return min(int(own), config.max_position_embeddings)


def _read_dense(folder: Path, settings_folder: Path, truncate: int | None) -> EncoderSpec:
    """Read backbone and tokenizer in `folder`, modules and prompts in `settings_folder`."""
    config = read_config(folder)
    tokenizer = _tokenizer(folder)
    settings = _settings(settings_folder)
    poolings: tuple[str, ...] = ("mean",)  # what sentence-transformers does with a bare model
    include_prompt, normalize = True, settings.get("similarity_fn_name") in (None, "cosine")
    projections: list[Projection] = []
    for module, module_folder in _modules(settings_folder):
        if module == "Pooling":
            raw = read_json(module_folder / "config.json")
            poolings = _poolings(raw, module_folder)
            include_prompt = bool(raw.get("include_prompt", True))
        elif module == "Dense":
            projections.append(Projection.read(module_folder))
        elif module == "Normalize":
            normalize = True
        elif module != "Transformer":
            raise InputError(f"{settings_folder}/modules.json: module {module} is not supported")
    head = DenseHeadSpec(
        config.hidden_size,
        poolings,
        tuple(projections),
        include_prompt,
        truncate or settings.get("truncate_dim"),
        normalize,
    )
    limit = _limit(folder, tokenizer, config)
    prompts = settings.get("prompts") or {}
    default = prompts.get(settings.get("default_prompt_name") or "", "")
    query = InputSpec(prompts.get("query") or default, limit)
    document = InputSpec(_first(prompts, "document", "passage", "corpus") or default, limit)
    return EncoderSpec(folder, config, tokenizer, head, query, document)


def _poolings(raw: dict[str, Any], folder: Path) -> tuple[str, ...]:
    modes = raw.get("pooling_mode")
    if modes is None:
        modes = [mode for flag, mode in LEGACY_POOLINGS.items() if raw.get(flag)] or ["mean"]
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    unknown = set(modes) - set(POOLINGS)
    if unknown:
        raise InputError(f"{folder}/config.json: pooling {sorted(unknown)} is not supported")
    return modes


def _first(prompts: dict[str, str], *names: str) -> str:
    """Return the first of these prompts that exists, in sentence-transformers' order."""
    return next((prompts[name] for name in names if name in prompts), "") or ""


def _read_late(folder: Path, pool_factor: float) -> EncoderSpec:
    """Read a folder of PyLate (model_type "ColBERT") or of sentence-transformers 6.2."""
    config = read_config(folder)
    tokenizer = _tokenizer(folder)
    settings = _settings(folder)
    is_pylate = settings.get("model_type") == "ColBERT"
    projections: list[Projection] = []
    words: list[str] = list(string.punctuation) if is_pylate else []
    if settings.get("skiplist_words") is not None:
        words = list(settings["skiplist_words"])
    for module, module_folder in _modules(folder):
        if module == "Dense":
            projections.append(Projection.read(module_folder))
        elif module == "MultiVectorMask":
            mask = read_json(module_folder / "config.json")
            if mask.get("keep_only_token_ids"):
                raise InputError(f"{module_folder}: keep_only_token_ids is not supported")
            if (mask.get("skiplist_tasks") or ["document"]) != ["document"]:
                raise InputError(
                    f"{module_folder}: skiplist_tasks other than document is not supported"
                )
            words = list(mask.get("skiplist_words") or [])
        elif module == "HierarchicalTokenPooling":
            raw = read_json(module_folder / "config.json")
            pool_factor *= float(raw.get("pool_factor", 1.0))
        elif module not in ("Transformer", "Normalize"):
            raise InputError(f"{folder}/modules.json: module {module} is not supported")
    if not projections:
        raise InputError(f"{folder}: a late-interaction checkpoint without its Dense projection")
    limit = _limit(folder, tokenizer, config)
    options = settings | _transformer_settings(folder)
    query_limit = int(options.get("query_length") or (32 if is_pylate else limit))
    document_limit = int(options.get("document_length") or (180 if is_pylate else limit))
    expansion: QueryExpansion | None = None
    if options.get("query_expansion"):
        expansion = _expansion(options["query_expansion"], tokenizer, folder)
    elif is_pylate and settings.get("do_query_expansion") is not False:
        raw = {"length": query_limit, "attend": bool(settings.get("attend_to_expansion_tokens"))}
        expansion = _expansion(raw, tokenizer, folder)
    prompts = settings.get("prompts") or {}
    query = settings.get("query_prefix") or ""
    document = settings.get("document_prefix") or ""
    query += (prompts.get("query") or "").removeprefix(query)
    document += (prompts.get("document") or "").removeprefix(document)
    return EncoderSpec(
        folder,
        config,
        tokenizer,
        LateHeadSpec(tuple(projections), _skiplist(words, tokenizer)),
        InputSpec(query, min(query_limit, limit), expansion),
        InputSpec(document, min(document_limit, limit)),
        pool_factor=pool_factor,
    )


def _expansion(raw: dict[str, Any], tokenizer: TextTokenizer, folder: Path) -> QueryExpansion:
    token = raw.get("token") or tokenizer.special_token("mask_token") or "[MASK]"
    token_id = tokenizer.id_of(token)
    if token_id is None:
        raise InputError(f"{folder}: the expansion token {token!r} is not in the tokenizer")
    cut = raw.get("strategy", "fixed") == "fixed"
    return QueryExpansion(int(raw["length"]), token_id, bool(raw.get("attend")), cut)


def _skiplist(words: list[str], tokenizer: TextTokenizer) -> tuple[int, ...]:
    """Return the ids of the words that are single tokens; other words are ignored."""
    unknown = tokenizer.id_of(tokenizer.special_token("unk_token") or "[UNK]")
    ids = (tokenizer.id_of(word) for word in words)
    return tuple(i for i in ids if i is not None and i != unknown)


def _read_stanford(folder: Path, pool_factor: float) -> EncoderSpec:
    """Read a Stanford ColBERT folder.

    The projection is `linear.weight` beside the backbone's tensors, settings are in
    `artifact.metadata` (JSON), and queries are always expanded.
    """
    config = read_config(folder)
    shape = _stored_shape(folder, STANFORD_PROJECTION)
    if len(shape) != 2:
        raise InputError(f"{folder}: {STANFORD_PROJECTION} must be a matrix, its shape is {shape}")
    projection = Projection(config.hidden_size, shape[0], bias=False)
    metadata = folder / "artifact.metadata"
    raw = read_json(metadata) if metadata.is_file() else {}
    tokenizer = _tokenizer(folder)
    limit = _limit(folder, tokenizer, config)
    length = int(raw.get("query_maxlen") or 32)
    expansion = {"length": length, "attend": bool(raw.get("attend_to_mask_tokens"))}
    words = string.punctuation if raw.get("mask_punctuation", True) else ""
    query = (raw.get("query_token_id") or "[unused0]") + " "
    document = (raw.get("doc_token_id") or "[unused1]") + " "
    return EncoderSpec(
        folder,
        config,
        tokenizer,
        LateHeadSpec((projection,), _skiplist(list(words), tokenizer)),
        InputSpec(query, min(length, limit), _expansion(expansion, tokenizer, folder)),
        InputSpec(document, min(int(raw.get("doc_maxlen") or 220), limit)),
        pool_factor=pool_factor,
    )


def _stored_shape(folder: Path, name: str) -> tuple[int, ...]:
    """Return the shape of a tensor from its file's header. Raise InputError without one."""
    from safetensors import SafetensorError, safe_open

    for path in weight_files(folder):
        try:
            with safe_open(path, framework="numpy") as file:
                if name in file.keys():  # noqa: SIM118 (no mapping)
                    return tuple(file.get_slice(name).get_shape())
        except FileNotFoundError:
            raise InputError(f"{folder}: {path.name} is missing") from None
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: truncated or not a safetensors file ({error})") from error
    raise InputError(f"{folder}: the checkpoint lacks tensor {name}")
