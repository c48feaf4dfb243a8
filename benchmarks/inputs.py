"""What several benchmarks read: judged collections, source trees, indexes made by `nano`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from mbert_retrieval import load_encoder

DJANGO = "Django==5.2.8"
LEFT_OUT = ("site-packages", "test", "tests", "idle_test")  # of the standard library


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """Add --data: the folder that has the judged collections, `$MBERT_DATA` if not given."""
    default = os.environ.get("MBERT_DATA")
    parser.add_argument(
        "--data",
        type=Path,
        default=default,
        required=default is None,
        help="folder with the BEIR folders cosqa/ and cranfield/ (default: $MBERT_DATA)",
    )


def django(work: Path) -> Path:
    """Return Django's package, downloaded and unpacked in the work folder."""
    folder = work / "django"
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*command, "--dest", str(work / "wheels"), DJANGO], check=True)
        for wheel in (work / "wheels").glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(work)
    return folder


def index_of_nano(work: Path, name: str) -> Path:
    """Return the path of an index in the work folder; each version of nano has its own."""
    return work / f"{name}-{load_encoder('nano').fingerprint[:8]}.index"
