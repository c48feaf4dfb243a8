"""Write encoder folders in one format that sentence-transformers, PyLate and this package load.

sentence-transformers 6.2 names its modules `sentence_transformers.base.*`, which PyLate cannot
load; it still reads the older names, so these are written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import torch

from ..backbone import ModernBert, save_network
from ..backbone.checkpoint import save_config
from ..errors import InputError
from .heads import DenseHead, LateHead
from .inputs import InputSpec
from .read import LEGACY_POOLINGS
from .tokens import TextTokenizer

MODELS = "sentence_transformers.models."


class WritableEncoder(Protocol):
    """What a folder stores of an encoder; `encoder.Encoder` has all of it."""

    backbone: ModernBert
    head: DenseHead | LateHead
    tokenizer: TextTokenizer
    query: InputSpec
    document: InputSpec


def write_encoder(
    encoder: WritableEncoder, folder: Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write an encoder's folder.

    Args:
        encoder: The encoder.
        folder: Where to write; created if need be.
        dtype: How the backbone's weights are stored.

    Raises:
        InputError: When the format cannot express what the encoder does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_settings(encoder, folder)
    save_network(encoder.backbone, folder, dtype)


def write_settings(encoder: WritableEncoder, folder: Path) -> None:
    """Write everything but the network's weights. What may raise comes first."""
    write_head = write_late_head if isinstance(encoder.head, LateHead) else write_dense_head
    write_head(encoder, folder)
    save_config(encoder.backbone, folder)
    encoder.tokenizer.save(folder)
    longest = max(encoder.query.limit, encoder.document.limit)
    _write(
        folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False}
    )


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_modules(folder: Path, kinds: list[str]) -> list[Path]:
    """Write modules.json; return the folder of each module after the first."""
    paths = ["" if i == 0 else f"{i}_{kind}" for i, kind in enumerate(kinds)]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": MODELS + kind}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    _write(folder / "modules.json", modules)
    return [folder / path for path in paths[1:]]


def _versions() -> dict[str, str]:
    from .. import __version__

    return {"mbert_retrieval": __version__, "pytorch": torch.__version__}


def write_dense_head(encoder: WritableEncoder, folder: Path) -> None:
    """Write modules.json, prompts, pooling and Dense layers of a dense encoder."""
    head = encoder.head
    assert isinstance(head, DenseHead)
    if [m for m in LEGACY_POOLINGS.values() if m in head.poolings] != list(head.poolings):
        raise InputError(
            f"poolings {list(head.poolings)} cannot be saved: the portable format fixes their "
            f"order to {list(LEGACY_POOLINGS.values())}"
        )
    kinds = ["Transformer", "Pooling", *["Dense"] * len(head.projections)]
    if head.normalize and not head.truncated:
        kinds.append("Normalize")
    folders = _write_modules(folder, kinds)
    pooling: dict[str, Any] = {"word_embedding_dimension": encoder.backbone.config.hidden_size}
    pooling |= {flag: mode in head.poolings for flag, mode in LEGACY_POOLINGS.items()}
    pooling["include_prompt"] = head.include_prompt
    _write(folders[0] / "config.json", pooling)
    for layer, layer_folder in zip(head.projections, folders[1:], strict=False):
        layer.save(layer_folder)
    for empty_folder in folders[1 + len(head.projections) :]:
        empty_folder.mkdir(exist_ok=True)
    settings: dict[str, Any] = {
        "__version__": _versions(),
        "model_type": "SentenceTransformer",
        "prompts": {"query": encoder.query.prompt, "document": encoder.document.prompt},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine" if head.normalize else "dot",
    }
    if head.truncated:
        settings["truncate_dim"] = head.dimension
    _write(folder / "config_sentence_transformers.json", settings)


def write_late_head(encoder: WritableEncoder, folder: Path) -> None:
    """Write modules.json, PyLate's settings and the projection of a late-interaction encoder."""
    head = encoder.head
    assert isinstance(head, LateHead)
    for prefix in (encoder.query.prompt, encoder.document.prompt):
        if prefix and encoder.tokenizer.id_of(prefix) is None:
            raise InputError(
                f"prefix {prefix!r} is not one token of the tokenizer, and PyLate would add it "
                "with a random embedding: add the token, with a trained embedding, before saving"
            )
    expansion = encoder.query.expansion
    mask = encoder.tokenizer.special_token("mask_token") or "[MASK]"
    if expansion and (not expansion.cut or expansion.token_id != encoder.tokenizer.id_of(mask)):
        raise InputError(
            "the portable format only knows query expansion with [MASK] to a fixed length"
        )
    skiplist = [encoder.tokenizer.backend.id_to_token(i) for i in head.skiplist]
    folders = _write_modules(folder, ["Transformer", *["Dense"] * len(head.projections)])
    for layer, layer_folder in zip(head.projections, folders, strict=True):
        layer.save(layer_folder)
    settings: dict[str, Any] = {
        "__version__": _versions(),
        "model_type": "ColBERT",
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": "MaxSim",
        "query_prefix": encoder.query.prompt,
        "document_prefix": encoder.document.prompt,
        "query_length": expansion.length if expansion else encoder.query.limit,
        "document_length": encoder.document.limit,
        "do_query_expansion": expansion is not None,
        "attend_to_expansion_tokens": bool(expansion and expansion.attend),
        "skiplist_words": skiplist,
    }
    _write(folder / "config_sentence_transformers.json", settings)
