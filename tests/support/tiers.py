"""The compiled kernels of every tier that this processor allows, in one process.

The tier is chosen once, when the extension is loaded; so a copy of its file is loaded for each.
"""

from __future__ import annotations

import atexit
import importlib.machinery
import importlib.util
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from mbert_retrieval.native import kernels

TIERS = kernels.TIERS.split()


@cache
def kernels_of(tier: str) -> ModuleType:
    """The module `kernels` with that tier."""
    # not removed while it is loaded: the loader knows libraries by the number of their file
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    copy = folder / os.path.basename(kernels.__file__)
    with pytest.MonkeyPatch.context() as patch:
        shutil.copyfile(kernels.__file__, copy)
        patch.setenv("MBERT_TIER", tier)
        name = f"{tier}.kernels"  # of its own, by which pybind11 knows modules that it has made
        loader = importlib.machinery.ExtensionFileLoader(name, str(copy))
        spec = importlib.util.spec_from_file_location(name, copy, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    assert tier == module.TIER
    return module
