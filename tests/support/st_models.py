"""Folders of sentence-transformers models with random weights, saved by sentence-transformers."""

from __future__ import annotations

import torch


def st_dense(bare_folder, **changes):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import (
        Dense,
        Normalize,
        Pooling,
        Transformer,
    )

    torch.manual_seed(3)
    options = {"pooling": "mean", "dense": 0, "normalize": True, "include_prompt": True}
    options |= changes
    modules = [Transformer(str(bare_folder))]
    modules.append(Pooling(64, options["pooling"], include_prompt=options["include_prompt"]))
    width = 64 * (1 if isinstance(options["pooling"], str) else len(options["pooling"]))
    for _ in range(options["dense"]):
        modules.append(Dense(width, 48))
        width = 48
    if options["normalize"]:
        modules.append(Normalize())
    prompts = {"query": "how to ", "document": "return: "}
    return SentenceTransformer(modules=modules, prompts=prompts, device="cpu")


def st_late(bare_folder, expansion=None, skiplist=(), query_length=None):
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    torch.manual_seed(4)
    modules = [
        Transformer(
            str(bare_folder),
            query_expansion=expansion,
            query_length=query_length,
            document_length=40,
        ),
        Dense(
            64,
            32,
            bias=False,
            activation_function=torch.nn.Identity(),
            module_input_name="token_embeddings",
        ),
        MultiVectorMask(skiplist_words=list(skiplist)),
        Normalize(module_input_name="token_embeddings"),
    ]
    model = MultiVectorEncoder(
        modules=modules, prompts={"query": "[Q] ", "document": "[D] "}, device="cpu"
    )
    return model


EXPANSIONS = {
    "none": None,
    "unattended": {"strategy": "fixed", "attend": False, "length": 24},
    "attended": {"strategy": "fixed", "attend": True, "length": 24},
    "at least": {"strategy": "min", "attend": False, "length": 24},
}
