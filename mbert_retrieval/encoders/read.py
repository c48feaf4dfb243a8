"""Read encoder folders: sentence-transformers (before and since 6.2), PyLate, Stanford ColBERT.

The differences between the formats end here: whatever the format, the result is an `EncoderSpec`.
Nothing here imports torch or reads weights.
"""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from pathlib import Path

from ..backbone.config import ModernBertConfig
from ..backbone.files import read_config, weight_files
from ..errors import InputError
from .inputs import InputSpec, QueryExpansion
from .settings import Settings
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
    model_type = _settings(folder).text("model_type") or None
    if model_type in ("ColBERT", "MultiVectorEncoder"):
        return "late"
    if model_type in (None, "SentenceTransformer"):
        kinds = [kind for kind, _ in _modules(folder)]
        return "late" if "MultiVectorMask" in kinds else "dense"
    raise InputError(f"{folder}: model_type {model_type!r} is neither dense nor late interaction")


def _is_stanford(folder: Path) -> bool:
    architectures = Settings.read(folder / "config.json").texts("architectures")
    return "HF_ColBERT" in (architectures or [])


def _settings(folder: Path) -> Settings:
    return Settings.read(folder / "config_sentence_transformers.json", optional=True)


def _transformer_settings(folder: Path) -> Settings:
    return Settings.read(folder / "sentence_bert_config.json", optional=True)


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
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not a list of modules ({error})") from error
    root = folder.resolve()
    for _, relative in modules:
        try:
            inside = len(relative) < 256 and (root / relative).resolve().is_relative_to(root)
        except (OSError, ValueError):  # a NUL character, a lone surrogate
            inside = False
        if not inside:
            raise InputError(
                f"{path}: {relative[:60]!r} leads out of the folder, or is no name of one"
            )
    return [(class_name, folder / relative) for class_name, relative in modules]


def _tokenizer(folder: Path) -> TextTokenizer:
    lower_case = _transformer_settings(folder).boolean("do_lower_case")
    return TextTokenizer.load(folder, lower_case)


def _limit(folder: Path, tokenizer: TextTokenizer, config: ModernBertConfig) -> int:
    """Return the most tokens of a text that the folder's settings allow."""
    own = _transformer_settings(folder).integer("max_seq_length", most=None)
    if own is None:  # transformers writes 10**30 for none
        own = Settings(folder / "tokenizer_config.json", tokenizer.config).integer(
            "model_max_length", config.max_position_embeddings, most=None
        )
    return min(own or config.max_position_embeddings, config.max_position_embeddings)


def _read_dense(folder: Path, settings_folder: Path, truncate: int | None) -> EncoderSpec:
    """Read backbone and tokenizer in `folder`, modules and prompts in `settings_folder`."""
    config = read_config(folder)
    tokenizer = _tokenizer(folder)
    settings = _settings(settings_folder)
    poolings: tuple[str, ...] = ("mean",)  # what sentence-transformers does with a bare model
    include_prompt = True
    normalize = settings.text("similarity_fn_name", "cosine") == "cosine"
    projections: list[Projection] = []
    for module, module_folder in _modules(settings_folder):
        if module == "Pooling":
            raw = Settings.read(module_folder / "config.json")
            poolings = _poolings(raw)
            include_prompt = raw.boolean("include_prompt", True)
        elif module == "Dense":
            projections.append(Projection.read(module_folder))
        elif module == "Normalize":
            normalize = True
        elif module != "Transformer":
            raise InputError(f"{settings_folder}/modules.json: module {module} is not supported")
    _check_widths(config.hidden_size * len(poolings), projections)
    head = DenseHeadSpec(
        config.hidden_size,
        poolings,
        tuple(projections),
        include_prompt,
        truncate or settings.integer("truncate_dim"),
        normalize,
    )
    limit = _limit(folder, tokenizer, config)
    prompts = settings.table("prompts")
    default = prompts.text(settings.text("default_prompt_name"))
    query = InputSpec(prompts.text("query") or default, limit)
    document = InputSpec(_first(prompts, "document", "passage", "corpus") or default, limit)
    return EncoderSpec(folder, config, tokenizer, head, query, document)


def _poolings(raw: Settings) -> tuple[str, ...]:
    if isinstance(raw.values.get("pooling_mode"), str):
        modes = [raw.text("pooling_mode")]
    else:
        flags = [mode for flag, mode in LEGACY_POOLINGS.items() if raw.values.get(flag)]
        listed = raw.texts("pooling_mode")
        modes = (flags or ["mean"]) if listed is None else listed
    unknown = set(modes) - set(POOLINGS)
    if unknown or not modes:
        raise InputError(f"{raw.path}: pooling {sorted(unknown)} is not supported")
    return tuple(modes)


def _check_widths(width: int, projections: Sequence[Projection]) -> None:
    """Check that each projection reads vectors of the width that comes before it."""
    for projection in projections:
        if projection.in_features != width:
            raise InputError(
                f"{projection.folder}: the layer reads vectors of width {projection.in_features}, "
                f"and gets {width}"
            )
        width = projection.out_features


def _first(prompts: Settings, *names: str) -> str:
    """Return the first of these prompts that exists, in sentence-transformers' order."""
    return next((prompts.text(name) for name in names if name in prompts.values), "")


def _read_late(folder: Path, pool_factor: float) -> EncoderSpec:
    """Read a folder of PyLate (model_type "ColBERT") or of sentence-transformers 6.2."""
    config = read_config(folder)
    tokenizer = _tokenizer(folder)
    settings = _settings(folder)
    is_pylate = settings.text("model_type") == "ColBERT"
    projections: list[Projection] = []
    words: list[str] = list(string.punctuation) if is_pylate else []
    listed = settings.texts("skiplist_words")
    if listed is not None:
        words = listed
    for module, module_folder in _modules(folder):
        if module == "Dense":
            projections.append(Projection.read(module_folder))
        elif module == "MultiVectorMask":
            mask = Settings.read(module_folder / "config.json")
            if mask.values.get("keep_only_token_ids"):
                raise InputError(f"{module_folder}: keep_only_token_ids is not supported")
            if (mask.texts("skiplist_tasks") or ["document"]) != ["document"]:
                raise InputError(
                    f"{module_folder}: skiplist_tasks other than document is not supported"
                )
            words = mask.texts("skiplist_words") or []
        elif module == "HierarchicalTokenPooling":
            pool_factor *= Settings.read(module_folder / "config.json").factor("pool_factor", 1.0)
        elif module not in ("Transformer", "Normalize"):
            raise InputError(f"{folder}/modules.json: module {module} is not supported")
    if not projections:
        raise InputError(f"{folder}: a late-interaction checkpoint without its Dense projection")
    _check_widths(config.hidden_size, projections)
    limit = _limit(folder, tokenizer, config)
    own = _transformer_settings(folder)
    options = Settings(settings.path, settings.values | own.values)
    query_limit = options.integer("query_length") or (32 if is_pylate else limit)
    document_limit = options.integer("document_length") or (180 if is_pylate else limit)
    expansion: QueryExpansion | None = None
    if options.values.get("query_expansion"):
        raw = options.table("query_expansion")
        expansion = _expansion(raw, raw.required_integer("length"), tokenizer, config)
    elif is_pylate and settings.boolean("do_query_expansion", True):
        raw = Settings(settings.path, {"attend": settings.boolean("attend_to_expansion_tokens")})
        expansion = _expansion(raw, query_limit, tokenizer, config)
    prompts = settings.table("prompts")
    query, document = settings.text("query_prefix"), settings.text("document_prefix")
    query += prompts.text("query").removeprefix(query)
    document += prompts.text("document").removeprefix(document)
    return EncoderSpec(
        folder,
        config,
        tokenizer,
        LateHeadSpec(tuple(projections), _skiplist(words, tokenizer)),
        InputSpec(query, min(query_limit, limit), expansion),
        InputSpec(document, min(document_limit, limit)),
        pool_factor=pool_factor,
    )


def _expansion(
    raw: Settings, length: int, tokenizer: TextTokenizer, config: ModernBertConfig
) -> QueryExpansion:
    if length > config.max_position_embeddings:
        raise InputError(
            f"{raw.path}: queries are expanded to {length:,} tokens, the network has "
            f"{config.max_position_embeddings:,} positions"
        )
    token = raw.text("token") or tokenizer.special_token("mask_token") or "[MASK]"
    token_id = tokenizer.id_of(token)
    if token_id is None:
        raise InputError(f"{raw.path}: the expansion token {token!r} is not in the tokenizer")
    cut = raw.text("strategy", "fixed") == "fixed"
    return QueryExpansion(length, token_id, raw.boolean("attend"), cut)


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
    raw = Settings.read(folder / "artifact.metadata", optional=True)
    tokenizer = _tokenizer(folder)
    limit = _limit(folder, tokenizer, config)
    length = raw.integer("query_maxlen") or 32
    attend = Settings(raw.path, {"attend": raw.boolean("attend_to_mask_tokens")})
    words = string.punctuation if raw.boolean("mask_punctuation", True) else ""
    query = (raw.text("query_token_id") or "[unused0]") + " "
    document = (raw.text("doc_token_id") or "[unused1]") + " "
    return EncoderSpec(
        folder,
        config,
        tokenizer,
        LateHeadSpec((projection,), _skiplist(list(words), tokenizer)),
        InputSpec(query, min(length, limit), _expansion(attend, length, tokenizer, config)),
        InputSpec(document, min(raw.integer("doc_maxlen") or 220, limit)),
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
