"""The examples in the docstrings of what users import run, and show what they say."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = ["mbert_retrieval", "mbert_retrieval.packed"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_run(name):
    module = import_module(name)
    results = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0
