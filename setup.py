"""The compiled part of the package; everything else is in pyproject.toml."""

from glob import glob

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

NATIVE = "mbert_retrieval/native"

setup(
    ext_modules=[
        Pybind11Extension(
            "mbert_retrieval.native.kernels",
            sorted(glob(f"{NATIVE}/*.cpp") + glob(f"{NATIVE}/tiers/*.cpp")),
            depends=sorted(glob(f"{NATIVE}/*.h") + glob(f"{NATIVE}/tiers/*.h")),
            cxx_std=20,
            extra_compile_args=["-O3"],
            optional=True,  # without a compiler, numpy and torch do their work
        )
    ]
)
