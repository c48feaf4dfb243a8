"""Trees that the commands have indexed."""

from __future__ import annotations

import pytest

from support.cli import run


@pytest.fixture
def built(tree):
    """A tree with a lexical index at its default path."""
    done = run("index", "build", tree, "--encoder", "none")
    assert done.returncode == 0, done.stderr
    return tree
