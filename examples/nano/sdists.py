"""Source distributions from the package index pip uses: fetched, checked, read; never executed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path

DEFAULT_INDEX = "https://pypi.org/simple"
TEXT_SUFFIXES = (".py", ".rst", ".md")
MAX_FILE_BYTES = 1_000_000
PERMISSIVE = re.compile(
    r"\b(mit|mit-cmu|bsd|0bsd|apache|psf|python software foundation|isc|hpnd|zlib|zpl|unlicense|"
    r"cc0|biopython|public domain|matplotlib)\b",
    re.IGNORECASE,
)
COPYLEFT = re.compile(r"\b[al]?gpl|general public|mozilla|\bmpl|eclipse|\bepl|proprietary", re.I)


class Refused(Exception):
    """A package that cannot be used; the message says why."""


def index_url() -> str:
    """The index that pip is configured with."""
    if url := os.environ.get("PIP_INDEX_URL"):
        return url.rstrip("/")
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    answer = subprocess.run(command, capture_output=True, text=True)
    return (answer.stdout.strip() or DEFAULT_INDEX).rstrip("/")


def fetch_sdist(requirement: str, index: str, folder: Path) -> Path:
    """The sdist of `name==version` in `folder`, downloaded and its sha256 checked if need be."""
    name, _, version = requirement.partition("==")
    page = f"{index}/{re.sub(r'[-_.]+', '-', name).lower()}/"
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    with urllib.request.urlopen(urllib.request.Request(page, headers=accept), timeout=60) as answer:
        files = json.load(answer)["files"]
    endings = (f"-{version}.tar.gz", f"-{version}.zip")
    entry = next((f for f in files if f["filename"].endswith(endings)), None)
    if entry is None:
        raise Refused("no source distribution of this version")
    path = folder / entry["filename"]
    if not path.exists():
        url = urllib.parse.urljoin(page, entry["url"])
        with urllib.request.urlopen(url, timeout=180) as answer:
            data = answer.read()
        if hashlib.sha256(data).hexdigest() != entry["hashes"]["sha256"]:
            raise Refused("its sha256 is not the index's")
        path.with_suffix(".part").write_bytes(data)
        path.with_suffix(".part").rename(path)
    return path


def read_sdist(path: Path) -> Iterator[tuple[str, str]]:
    """(path inside the distribution, text) of its metadata, Python and documentation files."""

    def wanted(name: str, size: int) -> bool:
        if name.count("/") == 1 and name.endswith("/PKG-INFO"):
            return True
        return name.endswith(TEXT_SUFFIXES) and size <= MAX_FILE_BYTES

    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for item in archive.infolist():
                if wanted(item.filename, item.file_size):
                    yield item.filename, archive.read(item).decode("utf-8", "ignore")
        return
    with tarfile.open(path) as archive:
        for item in archive:
            if item.isfile() and wanted(item.name, item.size):
                yield item.name, archive.extractfile(item).read().decode("utf-8", "ignore")


def licence_of(metadata: str) -> str:
    """The licence that a PKG-INFO declares; raises Refused unless it is permissive."""
    headers = HeaderParser().parsestr(metadata)
    classifiers = [
        c.rpartition(" :: ")[2]
        for c in headers.get_all("Classifier", [])
        if c.startswith("License :: ") and not c.endswith(":: OSI Approved")
    ]
    licence = headers["License-Expression"] or " OR ".join(classifiers) or headers["License"] or ""
    licence = " ".join(licence.split())[:200]
    for part in re.split(r"\bAND\b", licence):
        choices = re.split(r"\bOR\b", part)
        if not any(PERMISSIVE.search(choice) and not COPYLEFT.search(choice) for choice in choices):
            raise Refused(f"not known to be permissive: {licence or 'no licence declared'}")
    return licence
