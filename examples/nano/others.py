"""Gather training pairs for `nano` from Debian's packages and npm's.

    python examples/nano/others.py --packages examples/nano/packages-others.txt \\
        --exclude "$MBERT_DATA" --known DIR/pairs.jsonl.gz --out DIR/others

The packages are lines of deb:name==version and npm:name==version, fetched by `apt-get download`
and `npm pack` (nothing of them is executed): WordNet and FOLDOC (term to definition), manual pages
(what a page is about to its text, section title to section), and documented functions of
JavaScript, TypeScript, Go and Rust. Writes what gather.py writes, and removes what it removes.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

from braces import LANGUAGES, function_pairs
from gather import GENERATED, SKIPPED_PATH, Gathered, TestTexts, select, write_collection

from extract import PROSE_WORDS, Pair, document_pairs, is_prose

CAPS = {"function": 600, "comment": 0, "section": 2000, "prose": 1000, "definition": 12_000}
LICENCES = {  # of Debian packages, read from their copyright files
    "wordnet-base": "WordNet (permissive)",
    "dict-foldoc": "GFDL-1.1+",
    "manpages": "several, one a page (mostly Linux-man-pages-copyleft, GPL, BSD)",
    "manpages-dev": "several, one a page (mostly Linux-man-pages-copyleft, GPL, BSD)",
    "golang-1.19-src": "BSD-3-Clause",
    "rust-src": "MIT OR Apache-2.0",
}
TEMPLATES = (
    "what is {}",
    "{}",
    "{}",
    "{} definition",
    "meaning of {}",
    "define {}",
    "what does {} mean",
)
MAX_FILE_BYTES = 500_000

_TROFF_TEXT = re.compile(r"^\.(?:B|I|BR|BI|IR|RB|RI|IB|SM|SB)\s+(.*)$")
_TROFF_ESCAPE = re.compile(r"\\f(?:\[\w*\]|.)|\\s[-+]?\d|\\[&|^/,%:]|\\\(..|\\\[\w+\]")


def definition_query(term: str, random: Random) -> str:
    """A query for the definition of a term, in one of several styles."""
    return random.choice(TEMPLATES).format(term)


def wordnet_pairs(data: str, random: Random) -> Iterator[Pair]:
    """The words of a synset against its gloss (WordNet 3.0's data files)."""
    for line in data.splitlines():
        if line.startswith("  "):
            continue
        head, _, gloss = line.partition(" | ")
        fields = head.split()
        count = int(fields[3], 16)
        words = [
            re.sub(r"\(\w+\)$", "", w).replace("_", " ") for w in fields[4 : 4 + 2 * count : 2]
        ]
        gloss = " ".join(gloss.split())
        if len(gloss.split()) < 4 or not gloss.isascii():
            continue
        word, *others = random.sample(words, len(words))
        document = f"{', '.join(others)}: {gloss}" if others and random.random() < 0.3 else gloss
        yield Pair(definition_query(word, random), document, "definition", document)


def dictionary_pairs(text: str, random: Random) -> Iterator[Pair]:
    """Headwords at the margin against the indented entries below them (a dictd database)."""
    for entry in re.split(r"\n(?=\S)", text):
        head, _, body = entry.partition("\n")
        body = re.sub(r"\{([^}]*)\}|<([^>]*)>|/[^/\n]{2,40}/|\(\d{4}-\d\d-\d\d\)", r"\1\2", body)
        words = " ".join(body.split()).split()[: PROSE_WORDS[1]]
        definition = " ".join(words)
        if len(words) < 8 or not definition.isascii() or len(head) > 60:
            continue
        document = f"{head}: {definition}" if random.random() < 0.3 else definition
        yield Pair(definition_query(head.strip(), random), document, "definition", document)


def plain_manual(troff: str) -> str:
    """A manual page as Markdown: sections and paragraphs, without fonts, tables and listings."""
    troff = re.sub(r"^\.(nf|EX|TS)\b.*?^\.(fi|EE|TE)\b", "", troff, flags=re.M | re.S)
    lines = []
    for line in troff.splitlines():
        line = line.replace("\\-", "-").replace("\\(aq", "'").replace('\\"', "#")
        if match := re.match(r"^\.S[HS]\s+\"?(.*?)\"?$", line):
            lines.append(f"\n# {match[1].capitalize()}\n")
        elif match := _TROFF_TEXT.match(line):
            alternates = line[1:3].strip() in ("BR", "BI", "IR", "RB", "RI", "IB")
            parts = [a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', match[1])]
            lines.append(("" if alternates else " ").join(parts))
        elif line.startswith((".PP", ".P", ".LP", ".TP", ".IP", ".HP", ".RS", ".RE")):
            lines.append("")
        elif not line.startswith((".", "'")):
            lines.append(line)
    return _TROFF_ESCAPE.sub("", "\n".join(lines))


def manual_pairs(troff: str, random: Random) -> Iterator[Pair]:
    """What the page is about against the start of its description; the other sections."""
    text = plain_manual(troff)
    name = re.search(r"^# Name\n+(.+?) - (.+)$", text, re.M)
    if not name:
        return
    page, about = name[1].split(",")[0].strip(), name[2].strip()
    body = text[name.end() :]
    described = re.search(r"^# Description\n(.*?)(?=^# |\Z)", body, re.M | re.S)
    if described:
        paragraphs = [p for p in re.split(r"\n\s*\n", described[1]) if is_prose(p)]
        words = " ".join(paragraphs).split()[: PROSE_WORDS[1]]
        if len(words) >= 12:
            query = random.choice((about, about, f"{page} {about}", f"linux {about}"))
            yield Pair(query, " ".join(words), "section", " ".join(words))
            body = body.replace(described[0], "")
    for pair in document_pairs(body, True, random):
        if pair.kind == "section":
            title = pair.query.rpartition(": ")[2] if pair.query else ""
            pair.query = f"{page} {title}".lower() if title else None
        yield pair


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """(path, content) of the files of an npm tarball or a Debian package."""
    if archive.suffix == ".deb":
        command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE) as process,
            tarfile.open(fileobj=process.stdout, mode="r|") as tar,
        ):
            yield from _files(tar)
        return
    with tarfile.open(archive) as tar:
        yield from _files(tar)


def _files(tar: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for item in tar:
        if item.isfile():
            yield item.name, tar.extractfile(item).read()


def file_pairs(path: str, data: bytes, random: Random) -> Iterator[Pair]:
    name = path.rpartition("/")[2]
    if name.startswith("data.") and "/wordnet/" in path:
        yield from wordnet_pairs(data.decode("utf-8", "ignore"), random)
    elif name.endswith(".dict.dz"):
        yield from dictionary_pairs(gzip.decompress(data).decode("utf-8", "ignore"), random)
    elif re.search(r"/man/man\d/.*\.gz$", path):
        yield from manual_pairs(gzip.decompress(data).decode("utf-8", "ignore"), random)
    elif len(data) > MAX_FILE_BYTES or SKIPPED_PATH.search(path):
        return
    elif path.endswith(tuple(LANGUAGES)) and not re.search(
        r"\.min\.|\.d\.ts$|/(dist|umd|esm5?|fesm\d*|test|tests|testdata|__tests__|vendor|cjs|bundles?)/",
        path,
    ):
        text = data.decode("utf-8", "ignore")
        if not GENERATED.search(text[:1000]):
            yield from function_pairs(path, text, random)
    elif name.lower().endswith(".md") and "/node_modules/" not in path:
        yield from document_pairs(data.decode("utf-8", "ignore"), True, random)


def fetch(requirement: str, folder: Path) -> Path:
    """The archive of one line of the list."""
    source, _, requirement = requirement.partition(":")
    name, _, version = requirement.partition("==")
    plain = name.removeprefix("@").replace("/", "-")
    pattern = f"{plain}_*.deb" if source == "deb" else f"{plain}-{version}.tgz"
    if not list(folder.glob(pattern)):
        command = (
            ["apt-get", "download", "-qq", f"{name}={version}"]
            if source == "deb"
            else ["npm", "pack", "--silent", "--ignore-scripts", f"{name}@{version}"]
        )
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob(pattern))


def licence_of(requirement: str, archive: Path) -> str:
    if requirement.startswith("deb:"):
        return LICENCES[requirement[4:].partition("==")[0]]
    for path, data in members(archive):
        if path.count("/") == 1 and path.endswith("/package.json"):
            return str(json.loads(data).get("license", ""))
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--packages", type=Path, required=True, help="deb:... and npm:... lines")
    parser.add_argument("--exclude", type=Path, required=True, help="folder of BEIR collections")
    parser.add_argument(
        "--known", type=Path, nargs="*", default=[], help="pairs of earlier collections"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=250_000, help="maximum number of rows")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    folder = args.out / "archives"
    folder.mkdir(parents=True, exist_ok=True)
    TestTexts.read(args.exclude)
    results = []
    for line in args.packages.read_text("utf-8").splitlines():
        requirement = line.partition("#")[0].strip()
        if not requirement:
            continue
        archive = fetch(requirement, folder)
        gathered = Gathered(requirement, licence_of(requirement, archive))
        pairs: list[Pair] = []
        for path, data in members(archive):
            pairs += file_pairs("/" + path, data, Random(f"{args.seed} {path}"))
        results.append(select(gathered, pairs, args.exclude, CAPS, args.seed))
        print(f"{requirement}: {len(results[-1].pairs)} pairs", flush=True)
    write_collection(results, args.known, args.out, args.rows, args.seed)


if __name__ == "__main__":
    main()
