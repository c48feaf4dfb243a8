"""A collection of manual pages of Debian packages; queries are their one-line descriptions.

Pages have 500 to 20,000 words without the description and are rendered by mandoc, which comes from
its package. Nothing is installed and no root is needed: packages are fetched by `apt-get download`
and unpacked by `dpkg-deb`.
"""

from __future__ import annotations

import gzip
import re
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from ...errors import InputError
from ...files import sha256_of_file
from .build import Entry, write_collection

FORMATTER = "mandoc"
_PACKAGES = """
apt bind9-dnsutils btrfs-progs coreutils cryptsetup-bin curl dpkg dpkg-dev e2fsprogs
erlang-manpages ffmpeg git-man gpg groff iproute2 libssl-doc libx11-doc lvm2 manpages manpages-dev
mariadb-client ncurses-doc nftables openssh-client openssl perl-doc qemu-utils rsync
samba-common-bin systemd tar tmux util-linux wget xfsprogs
"""
PACKAGES = tuple(_PACKAGES.split())
DOCUMENTS, QUERIES = 1200, 400
SHORTEST, LONGEST = 500, 20_000  # words of a page
FEWEST_WORDS = 3  # of a description
_COLUMNS = 1000  # the widest of mandoc: a paragraph is one line or a few
_NAME = re.compile(r"^NAME\n(?P<body>(?:(?: .*)?\n)+)", re.MULTILINE)
_DASH = re.compile("\\s(-{1,2}|\u2013|\u2014)\\s")  # hyphens, en dash, em dash
_OVERSTRIKE = re.compile(".\b")
_SPACES = re.compile(r"(?<=\S) {2,}")


def collect(
    folder: Path,
    packages: Sequence[str] = PACKAGES,
    progress: Callable[[int], None] | None = None,
) -> tuple[int, int]:
    """Build the collection.

    Args:
        folder: The BEIR folder to create.
        packages: Names of Debian packages.
        progress: Called with the number of pages rendered so far.

    Returns:
        Numbers of documents and queries.

    Raises:
        InputError: The packages cannot be fetched, or the folder exists already.
    """
    if folder.exists():
        raise InputError(f"{folder} already exists: remove it first")
    with TemporaryDirectory() as scratch:
        archives = _download([FORMATTER, *packages], Path(scratch))
        tree = Path(scratch) / "tree"
        for archive in archives:
            _run(["dpkg-deb", "-x", str(archive), str(tree)])
        entries = _pages(tree, progress)
        sources = {
            "made_by": "mbert-eval collect manpages",
            "packages": {archive.name: sha256_of_file(archive) for archive in archives},
        }
        return write_collection(
            folder, entries, documents=DOCUMENTS, queries=QUERIES, sources=sources
        )


def entry_of(id: str, page: str) -> Entry | None:
    """Make an entry of a rendered page.

    Args:
        id: Id of the document.
        page: Text rendered by mandoc; its first and last lines are header and footer.

    Returns:
        The entry; None if the page has no description or is too short or too long.
    """
    lines = _OVERSTRIKE.sub("", page).strip("\n").split("\n")[1:-1]
    text = "\n".join(lines) + "\n"
    section = _NAME.search(text)
    if section is None:
        return None
    line = " ".join(section["body"].split())
    dash = _DASH.search(line)
    description = line[dash.end() :] if dash else ""
    rest = text[: section.start()] + text[section.end() :]
    rest = "\n".join(_SPACES.sub(" ", line).strip() for line in rest.split("\n"))
    rest = re.sub(r"\n{3,}", "\n\n", rest).strip()
    if not SHORTEST <= len(rest.split()) <= LONGEST or len(description.split()) < FEWEST_WORDS:
        return None
    return Entry(id, rest, description)


def _pages(tree: Path, progress: Callable[[int], None] | None) -> list[Entry]:
    formatter = str(tree / "usr" / "bin" / FORMATTER)
    files = sorted((tree / "usr" / "share" / "man").glob("man*/*.gz"))
    files = [path for path in files if path.is_file() and not path.is_symlink()]

    def render(path: Path) -> Entry | None:
        source = gzip.decompress(path.read_bytes())
        if source.lstrip().startswith(b".so "):  # a link to another page
            return None
        command = [formatter, "-Tutf8", f"-Owidth={_COLUMNS}"]
        page = subprocess.run(command, input=source, capture_output=True, check=False).stdout
        return entry_of(path.name.removesuffix(".gz"), page.decode("utf-8", "replace"))

    entries: list[Entry] = []
    with ThreadPoolExecutor() as pool:
        for done, entry in enumerate(pool.map(render, files), start=1):
            if entry is not None:
                entries.append(entry)
            if progress is not None:
                progress(done)
    return entries


def _download(packages: Sequence[str], folder: Path) -> list[Path]:
    folder.chmod(0o755)
    options = ["-o", "APT::Sandbox::User=root", "-qq"]
    _run(["apt-get", *options, "download", *packages], cwd=folder)
    return sorted(folder.glob("*.deb"))


def _run(command: list[str], cwd: Path | None = None) -> None:
    try:
        subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise InputError(
            f"{command[0]} is missing: build this collection on Debian or a derivative"
        ) from None
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or "").strip().splitlines()
        reason = lines[-1] if lines else f"exit code {error.returncode}"
        raise InputError(
            f"{' '.join(command[:3])} failed: {reason} (apt-get update may help)"
        ) from None
