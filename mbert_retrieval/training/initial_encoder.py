"""The encoder that a run starts from: a trained one, or a bare network with a new head."""

from __future__ import annotations

import string
from dataclasses import replace

import torch

from ..backbone import ModernBert
from ..backbone.files import find_checkpoint
from ..encoders import SHIPPED, load_encoder
from ..encoders.dense_layer import Dense
from ..encoders.encoder import Encoder
from ..encoders.heads import DenseHead, LateHead
from ..encoders.inputs import InputSpec, QueryExpansion
from ..encoders.read import folder_kind
from ..encoders.spec import POOLINGS
from ..encoders.tokens import TextTokenizer
from ..errors import InputError
from .recipe import ModelOptions

PREFIXES = ("[Q] ", "[D] ")  # PyLate's
QUERY_LENGTH, DOCUMENT_LENGTH, DIMENSION = 32, 180, 128  # PyLate's, for a new head


def initial_encoder(objective: str, options: ModelOptions) -> Encoder:
    """Return the encoder to train, in float32 on the CPU.

    With objective "colbert" a base that is no late-interaction checkpoint gets a new head: prefix
    tokens with new rows in the embedding, a projection, query expansion and the punctuation
    skiplist, as PyLate initialises them.

    Args:
        objective: "dense" or "colbert".
        options: The base, and what to change in it.

    Returns:
        The encoder; a new head has random weights from torch's global generator.

    Raises:
        InputError: If the base cannot be read or the options do not fit it.
    """
    base_kind = objective_kind = "late" if objective == "colbert" else "dense"
    if options.base not in SHIPPED:
        base_kind = folder_kind(find_checkpoint(options.base))
    needs_head = (base_kind, objective_kind) == ("dense", "late")
    loaded = load_encoder(
        options.base,
        "dense" if needs_head else objective_kind,
        device="cpu",
        dtype=torch.float32,
    )
    if not isinstance(loaded, Encoder):
        raise InputError(f"{options.base} is an ONNX export, which cannot be trained")
    if needs_head:
        encoder = _with_late_head(loaded, options)
    elif objective_kind == "late":
        encoder = _late(loaded, options)
    else:
        encoder = _dense(loaded, options)
    encoder.set_lengths(options.query_length, options.document_length)
    return encoder


def _dense(encoder: Encoder, options: ModelOptions) -> Encoder:
    _refuse(options, "dense", "dimension", "expansion", "skiplist")
    head = encoder.head
    assert isinstance(head, DenseHead)
    pooling = options.pooling
    if pooling is not None and pooling not in POOLINGS:
        raise InputError(f"model.pooling must be one of {', '.join(POOLINGS)}, not {pooling!r}")
    if pooling is not None and head.projections:
        raise InputError(f"{options.base} has its own pooling: remove model.pooling")
    poolings = head.poolings if pooling is None else (pooling,)
    normalize = head.normalize if options.normalize is None else options.normalize
    head = DenseHead(
        head.hidden_size, poolings, head.projections, head.include_prompt, None, normalize
    )
    return _with_head(encoder, head, options)


def _late(encoder: Encoder, options: ModelOptions) -> Encoder:
    _refuse(options, "colbert", "pooling", "normalize")
    for name in ("dimension", "expansion", "skiplist"):
        if getattr(options, name) is not None:
            raise InputError(f"{options.base} has its own head: remove model.{name}")
    return _with_head(encoder, encoder.head, options)


def _with_late_head(encoder: Encoder, options: ModelOptions) -> Encoder:
    _refuse(options, "colbert", "pooling", "normalize")
    tokenizer, backbone = encoder.tokenizer, encoder.backbone
    prompts = [
        default if given is None else given
        for given, default in zip(
            (options.query_prompt, options.document_prompt), PREFIXES, strict=True
        )
    ]
    add_tokens(backbone, tokenizer, [prompt for prompt in prompts if prompt])
    hidden, longest = backbone.config.hidden_size, backbone.config.max_position_embeddings
    layer = Dense(hidden, options.dimension or DIMENSION, bias=False)
    query_length = min(options.query_length or QUERY_LENGTH, longest)
    expansion = None
    if options.expansion is not False:
        mask = tokenizer.id_of(tokenizer.special_token("mask_token") or "[MASK]")
        if mask is None:
            raise InputError(
                f"{options.base} has no [MASK] token: set model.expansion = false to train without"
            )
        expansion = QueryExpansion(query_length, mask)
    skipped = [tokenizer.id_of(mark) for mark in string.punctuation]
    skiplist = () if options.skiplist is False else tuple(i for i in skipped if i is not None)
    return Encoder(
        backbone,
        tokenizer,
        LateHead((layer,), skiplist),
        InputSpec(prompts[0], query_length, expansion),
        InputSpec(prompts[1], min(options.document_length or DOCUMENT_LENGTH, longest)),
        encoder.name,
    )


def _refuse(options: ModelOptions, objective: str, *names: str) -> None:
    """Raise InputError if one of the named options is set."""
    for name in names:
        if getattr(options, name) is not None:
            raise InputError(f"model.{name} has no meaning for {objective}: remove it")


def _with_head(encoder: Encoder, head: DenseHead | LateHead, options: ModelOptions) -> Encoder:
    """The encoder with another head, and with the prompts of the options."""
    query, document = encoder.query, encoder.document
    if options.query_prompt is not None:
        query = replace(query, prompt=options.query_prompt)
    if options.document_prompt is not None:
        document = replace(document, prompt=options.document_prompt)
    if head.kind == "late":
        prompts = [spec.prompt for spec in (query, document) if spec.prompt]
        add_tokens(encoder.backbone, encoder.tokenizer, prompts)
    return Encoder(encoder.backbone, encoder.tokenizer, head, query, document, encoder.name)


def add_tokens(backbone: ModernBert, tokenizer: TextTokenizer, tokens: list[str]) -> None:
    """Add special tokens, each with a new row of the embedding: the mean of all rows, plus noise.

    Existing tokens stay unchanged. Draws from torch's global generator.
    """
    from tokenizers import AddedToken

    new = [token for token in tokens if tokenizer.id_of(token) is None]
    tokenizer.backend.add_special_tokens([AddedToken(token, normalized=False) for token in new])
    ids = [tokenizer.id_of(token) for token in new]
    old = backbone.embeddings.tok_embeddings
    rows = max([old.num_embeddings - 1, *(i for i in ids if i is not None)]) + 1
    with torch.no_grad():
        weight = old.weight.new_empty(rows, old.embedding_dim)
        weight[: old.num_embeddings] = old.weight
        fresh = sorted({i for i in ids if i is not None} | set(range(old.num_embeddings, rows)))
        noise = torch.randn(len(fresh), old.embedding_dim) * backbone.config.initializer_range
        weight[fresh] = old.weight.mean(0) + noise.to(weight)
    if rows > old.num_embeddings:
        backbone.embeddings.tok_embeddings = torch.nn.Embedding.from_pretrained(weight, False)
        backbone.config = replace(backbone.config, vocab_size=rows)
    else:
        old.weight.data.copy_(weight)
