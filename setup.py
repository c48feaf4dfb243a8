"""The compiled part of the package; everything else is in pyproject.toml."""

import platform
from glob import glob
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup

NATIVE = "mbert_retrieval/native"
# Each tier is compiled for its own processors; which one is used is decided when it is loaded.
X86 = {
    "avx2": ["-mavx2", "-mfma", "-mf16c", "-mbmi", "-mbmi2"],
    "avx512": [
        *("-mavx2", "-mfma", "-mf16c", "-mbmi", "-mbmi2"),
        *("-mavx512f", "-mavx512bw", "-mavx512cd", "-mavx512dq", "-mavx512vl", "-mavx512vnni"),
    ],
}
ARM = {"neon": ["-march=armv8.2-a+dotprod"]}
TIERS = ARM if platform.machine() in ("aarch64", "arm64") else X86


class BuildTiers(build_ext):
    def build_extensions(self) -> None:
        compile_one = self.compiler._compile

        def compile_for_tier(object_file, source, extension, arguments, options, more):
            flags = TIERS.get(Path(source).stem, [])
            compile_one(object_file, source, extension, arguments, [*options, *flags], more)

        self.compiler._compile = compile_for_tier
        super().build_extensions()


setup(
    cmdclass={"build_ext": BuildTiers},
    ext_modules=[
        Pybind11Extension(
            "mbert_retrieval.native.kernels",
            sorted(glob(f"{NATIVE}/*.cpp") + glob(f"{NATIVE}/tiers/*.cpp")),
            depends=sorted(glob(f"{NATIVE}/*.h") + glob(f"{NATIVE}/tiers/*.h")),
            cxx_std=20,
            extra_compile_args=["-O3"],
            optional=True,  # without a compiler, numpy and torch do their work
        )
    ],
)
