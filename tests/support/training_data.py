"""Tiny training runs: a bare network drawn narrowly, rows of made-up pairs, and recipes on them."""

from __future__ import annotations

import json

import torch

from support.tiny_models import tiny_config, tiny_tokenizer

QUERIES = ["read the file", "parse http", "a", "how to list and return python lists, of files?"]
COLUMNS = [
    ["def read(path): return path", "parse", "write; (log)", "python list of files " * 8],
    ["to", "the list of 7", "x y z", "return"],
    ["close the connection", "q", "how to write", "1 2 3"],
]
"""Documents of the queries: the positives, then two columns of negatives."""
SCORES = torch.tensor([[3.0, 1.0, 0.5], [0.2, 0.1, 0.9], [1.0, 1.0, 0.0], [2.0, -1.0, 0.3]])
"""A teacher's scores of each query's documents."""

NOUNS = ["file", "list", "python", "parse", "read", "write", "return"]


def write_bare(folder, **changes):
    """A bare ModernBERT and its tokenizer, as transformers saves them."""
    from transformers import ModernBertModel

    torch.manual_seed(0)
    values = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    values |= {"num_attention_heads": 2, "initializer_range": 0.08}
    ModernBertModel(tiny_config(**(values | changes))).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def pairs(count):
    """(query, positive) texts, all different."""
    return [
        (f"how to {NOUNS[i % 7]} {i}", f"{NOUNS[i % 7]} the {NOUNS[i % 5]} of {i}")
        for i in range(count)
    ]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def triplets(count):
    return [
        {"query": query, "positive": positive, "negative": f"to write x{i}"}
        for i, (query, positive) in enumerate(pairs(count))
    ]


def raw_recipe(base, train, output, /, **sections):
    """The sections of a short run."""
    raw = {
        "model": {"base": str(base)},
        "data": {"train": str(train)},
        "loss": {},
        "training": {"output": str(output), "batch": 8, "steps": 4, "learning_rate": 1e-3},
        "evaluation": {},
    }
    for name, section in sections.items():
        raw[name] |= section
    return raw


def features_of(model):
    """QUERIES and COLUMNS as the features that a trainer passes to a loss."""
    tasks = ["query", *["document"] * len(COLUMNS)]
    return [
        model.preprocess(column, prompt=model.prompts[task], task=task) | {"task": task}
        for column, task in zip([QUERIES, *COLUMNS], tasks, strict=True)
    ]
