"""The compiled part of the package; everything else is in pyproject.toml."""

from glob import glob

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

NATIVE = "mbert_retrieval/native"

setup(
    ext_modules=[
        Pybind11Extension(
            f"mbert_retrieval.native.{name}",
            [f"{NATIVE}/{name}.cpp"],
            depends=sorted(glob(f"{NATIVE}/*.h")),
            cxx_std=20,
            extra_compile_args=["-O3"],
        )
        for name in ("attention", "products", "plaid")
    ]
)
