"""The pages: links lead somewhere, the CLI reference is what --help says, no private paths."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    page
    for folder in ("", "docs", "examples", "mbert_retrieval/encoders/nano")
    for page in sorted((ROOT / folder).glob("*.md" if folder != "docs" else "**/*.md"))
]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
README_BYTES = 7000
COMMITTED = (".md", ".py", ".toml", ".yml", ".yaml", ".cff", ".sh", ".txt", ".html", ".js")
FOLDERS = ("docs", "examples", "benchmarks", "mbert_retrieval", "indexes", "eval", ".github", ".ci")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as Python-Markdown makes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    slugs = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
        slugs.add(re.sub(r"[\s-]+", "-", plain))
    return slugs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    listed = set(re.findall(r": ([\w/-]+\.md)$", navigation, re.MULTILINE))
    docs = ROOT / "docs"
    assert listed == {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")}


def test_command_line_reference_equals_help():
    path = ROOT / "docs" / "generate_cli.py"
    spec = importlib.util.spec_from_file_location("generate_cli", path)
    generate_cli = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate_cli)
    committed = generate_cli.PAGE.read_text(encoding="utf-8")
    assert committed == generate_cli.page(), "run: python docs/generate_cli.py"


def test_readme_is_short():
    assert (ROOT / "README.md").stat().st_size <= README_BYTES


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_readme_names_the_two_commands(command):
    assert re.search(rf"^{command}\b", (ROOT / "README.md").read_text(), re.MULTILINE)


def test_no_text_names_a_path_outside_the_repository():
    files = [file for file in ROOT.iterdir() if file.is_file()]
    for folder in FOLDERS:
        files += [file for file in (ROOT / folder).rglob("*") if file.is_file()]
    outside = re.compile(r"\.\./shared|\bshared/data\b|\"shared\" / \"data\"|/work/")
    naming = [
        file.relative_to(ROOT).as_posix()
        for file in files
        if file.suffix in COMMITTED and outside.search(file.read_text(encoding="utf-8"))
    ]
    assert naming == []


def test_model_card_page_begins_at_the_title():
    page = (ROOT / "docs" / "model-card.md").read_text(encoding="utf-8")
    path, _, line = re.search(r'--8<-- "(.+?)"', page)[1].partition(":")
    card = (ROOT / path).read_text(encoding="utf-8").splitlines()
    assert card[int(line) - 1].startswith("# nano")


def test_citation_has_the_package_s_version():
    from mbert_retrieval import __version__

    for name in ("CITATION.cff", "docs/cite.md", "CHANGELOG.md"):
        assert __version__ in (ROOT / name).read_text(encoding="utf-8"), name
