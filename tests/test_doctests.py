"""The examples in the docstrings of what users import run, and show what they say."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = [
    "mbert_retrieval.backbone.checkpoint",
    "mbert_retrieval.backbone.model",
    "mbert_retrieval.encoders",
    "mbert_retrieval.encoders.base",
    "mbert_retrieval.encoders.encoder",
    "mbert_retrieval.encoders.numpy_encoder",
    "mbert_retrieval.eval.adapters",
    "mbert_retrieval.eval.comparison",
    "mbert_retrieval.eval.datasets",
    "mbert_retrieval.eval.measures",
    "mbert_retrieval.eval.peers",
    "mbert_retrieval.eval.results",
    "mbert_retrieval.eval.runner",
    "mbert_retrieval.eval.runs",
    "mbert_retrieval.eval.suites",
    "mbert_retrieval.index",
    "mbert_retrieval.indexes.device",
    "mbert_retrieval.indexes.filtering",
    "mbert_retrieval.indexes.folder",
    "mbert_retrieval.indexes.lexical",
    "mbert_retrieval.indexes.manifest",
    "mbert_retrieval.indexes.validation",
    "mbert_retrieval.indexes.writer",
    "mbert_retrieval.packed",
    "mbert_retrieval.protocols",
    "mbert_retrieval.search.result",
    "mbert_retrieval.sources.passages",
    "mbert_retrieval.training.finetune",
    "mbert_retrieval.training.maxsim",
    "mbert_retrieval.training.mining",
    "mbert_retrieval.training.mlm",
    "mbert_retrieval.training.mlm_data",
    "mbert_retrieval.training.recipe",
    "mbert_retrieval.training.recipe_toml",
    "mbert_retrieval.types",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_run(name):
    module = import_module(name)
    results = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted > 0
    assert results.failed == 0
