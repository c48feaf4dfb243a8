"""The compiled part of the package; everything else stands in pyproject.toml."""

from glob import glob

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

BACKBONE = "mbert_retrieval/backbone"

setup(
    ext_modules=[
        Pybind11Extension(
            "mbert_retrieval.indexes.plaid.kernels",
            ["indexes/plaid/kernels.cpp"],
            depends=sorted(glob("indexes/plaid/cpp/*.h")),
            cxx_std=20,
            extra_compile_args=["-O3"],
        ),
        *(
            Pybind11Extension(
                f"mbert_retrieval.backbone.{name}",
                [f"{BACKBONE}/{name}.cpp"],
                include_dirs=["indexes/plaid/cpp"],
                depends=["indexes/plaid/cpp/vectors.h"],
                cxx_std=20,
                extra_compile_args=["-O3"],
            )
            for name in ("cpu_attention", "cpu_products")
        ),
    ]
)
