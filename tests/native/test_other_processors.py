"""The kernels on processors and with compilers that are not this machine's, and under sanitizers.

`compare_tiers.cpp` compares every tier with the portable one; for ARM it runs in an emulator.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools

from mbert_retrieval.native import kernels

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NATIVE = ROOT / "mbert_retrieval" / "native"
SANITIZED = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def tier_flags():
    """The flags of each tier's file, as the package is compiled: by processor, by tier."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **_: None)
        patch.chdir(ROOT)
        build = runpy.run_path("setup.py")
    return {"x86": build["X86"], "arm": build["ARM"]}


def compiled(compiler: list[str], flags: dict[str, list[str]], folder: Path) -> Path:
    sources = [HERE / "compare_tiers.cpp", NATIVE / "tier.cpp", NATIVE / "pool.cpp"]
    sources += sorted((NATIVE / "tiers").glob("*.cpp"))
    objects = []
    for source in sources:
        objects.append(folder / f"{source.stem}.o")
        options = ["-std=c++20", "-Wno-psabi", *flags.get(source.stem, [])]
        subprocess.run([*compiler, *options, "-c", source, "-o", objects[-1]], check=True)
    program = folder / "compare"
    subprocess.run([*compiler, *objects, "-o", program, "-pthread"], check=True)
    return program


@pytest.mark.parametrize(
    ("compiler", "processor", "emulator", "tiers"),
    [
        (["g++", "-O2", *SANITIZED], "x86", [], {"avx512", "avx2"}),
        (["clang++", "-O2"], "x86", [], {"avx512", "avx2"}),
        (["aarch64-linux-gnu-g++", "-O2", "-static"], "arm", ["qemu-aarch64"], {"neon"}),
    ],
    ids=["sanitizers", "clang", "arm"],
)
def test_all_tiers_agree(compiler, processor, emulator, tiers, tier_flags, tmp_path):
    if missing := [tool for tool in (compiler[0], *emulator) if shutil.which(tool) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    program = compiled(compiler, tier_flags[processor], tmp_path)
    done = subprocess.run([*emulator, program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    agreeing = {line.split()[0] for line in done.stdout.splitlines()}
    assert agreeing
    assert agreeing <= tiers


SANITIZED_TRIALS = """
import importlib.machinery, importlib.util, sys
name, path = "mbert_retrieval.native.kernels", sys.argv[1]
loader = importlib.machinery.ExtensionFileLoader(name, path)
spec = importlib.util.spec_from_file_location(name, path, loader=loader)
module = sys.modules[name] = importlib.util.module_from_spec(spec)
loader.exec_module(module)
from native.test_tiers import kernels, trials
assert kernels is module
print(trials(2, 3000))
"""


def test_damaged_arguments_under_sanitizers(tier_flags, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    includes = subprocess.run(
        [sys.executable, "-m", "pybind11", "--includes"], capture_output=True, text=True, check=True
    ).stdout.split()
    objects = []
    for source in [*sorted(NATIVE.glob("*.cpp")), *sorted((NATIVE / "tiers").glob("*.cpp"))]:
        objects.append(tmp_path / f"{source.stem}.o")
        options = ["-std=c++20", "-fPIC", "-fvisibility=hidden", *SANITIZED, *includes]
        options += tier_flags["x86"].get(source.stem, [])
        subprocess.run(["g++", *options, "-c", source, "-o", objects[-1]], check=True)
    library = tmp_path / Path(kernels.__file__).name
    subprocess.run(["g++", "-shared", *SANITIZED, *objects, "-o", library], check=True)
    loaded_first = [  # the sanitizer finds what throws in a library that is there before it
        subprocess.run(
            ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    done = subprocess.run(
        [sys.executable, "-c", SANITIZED_TRIALS, library],
        env={
            **os.environ,
            "LD_PRELOAD": " ".join(loaded_first),
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
            "PYTHONPATH": str(ROOT / "tests"),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert 500 < int(done.stdout.split()[-1]) < 3000
