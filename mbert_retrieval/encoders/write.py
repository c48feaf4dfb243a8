"""Encoder folders of the ecosystem, written: one layout that every reader takes.

sentence-transformers 6.2 names its modules `sentence_transformers.base.*`, which PyLate cannot
load; it reads the older names, so these are written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ..backbone import save_network
from ..backbone.checkpoint import save_config
from ..errors import InputError
from .encoder import Encoder
from .heads import DenseHead, LateHead
from .read import LEGACY_POOLINGS

MODELS = "sentence_transformers.models."


def write_encoder(encoder: Encoder, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the folder. dtype: how the backbone's weights are stored.

    Raises InputError where the layout cannot say what the encoder does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_settings(encoder, folder)
    save_network(encoder.backbone, folder, dtype)


def write_settings(encoder: Encoder, folder: Path) -> None:
    """Everything but the network's weights. What may be refused comes first."""
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
    """modules.json, and the folder of each module after the first."""
    places = ["" if i == 0 else f"{i}_{kind}" for i, kind in enumerate(kinds)]
    modules = [
        {"idx": i, "name": str(i), "path": place, "type": MODELS + kind}
        for i, (kind, place) in enumerate(zip(kinds, places, strict=True))
    ]
    _write(folder / "modules.json", modules)
    return [folder / place for place in places[1:]]


def _versions() -> dict[str, str]:
    from .. import __version__

    return {"mbert_retrieval": __version__, "pytorch": torch.__version__}


def write_dense_head(encoder: Encoder, folder: Path) -> None:
    """modules.json, prompts, pooling and Dense layers of a dense encoder."""
    head = encoder.head
    assert isinstance(head, DenseHead)
    if [m for m in LEGACY_POOLINGS.values() if m in head.poolings] != list(head.poolings):
        raise InputError(
            f"poolings {list(head.poolings)} cannot be written: the portable layout fixes the "
            f"order {list(LEGACY_POOLINGS.values())}"
        )
    kinds = ["Transformer", "Pooling", *["Dense"] * len(head.projections)]
    if head.normalize and not head.truncated:
        kinds.append("Normalize")
    places = _write_modules(folder, kinds)
    pooling: dict[str, Any] = {"word_embedding_dimension": encoder.backbone.config.hidden_size}
    pooling |= {flag: mode in head.poolings for flag, mode in LEGACY_POOLINGS.items()}
    pooling["include_prompt"] = head.include_prompt
    _write(places[0] / "config.json", pooling)
    for layer, place in zip(head.projections, places[1:], strict=False):
        layer.save(place)
    for place in places[1 + len(head.projections) :]:
        place.mkdir(exist_ok=True)
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


def write_late_head(encoder: Encoder, folder: Path) -> None:
    """modules.json, PyLate's settings and the projection of a late-interaction encoder."""
    head = encoder.head
    assert isinstance(head, LateHead)
    for prefix in (encoder.query.prompt, encoder.document.prompt):
        if prefix and encoder.tokenizer.id_of(prefix) is None:
            raise InputError(
                f"prefix {prefix!r} is not one token of the tokenizer: PyLate would add it with a "
                "random embedding. Add the token, with a trained row, before saving"
            )
    expansion = encoder.query.expansion
    mask = encoder.tokenizer.special_token("mask_token") or "[MASK]"
    if expansion and (not expansion.cut or expansion.token_id != encoder.tokenizer.id_of(mask)):
        raise InputError("the portable layout only knows expansion with [MASK] to a fixed length")
    skiplist = [encoder.tokenizer.backend.id_to_token(i) for i in head.skiplist]
    places = _write_modules(folder, ["Transformer", *["Dense"] * len(head.projections)])
    for layer, place in zip(head.projections, places, strict=True):
        layer.save(place)
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
