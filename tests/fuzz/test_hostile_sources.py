"""Files of every language, cut, spliced, repeated and nested: none stops a build."""

from __future__ import annotations

import ast
import sysconfig
import time
from pathlib import Path
from random import Random

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.errors import UnreadableError
from mbert_retrieval.indexes import IndexFolder
from mbert_retrieval.sources.confined_reader import ConfinedReader
from mbert_retrieval.sources.languages import LANGUAGES
from mbert_retrieval.sources.reader_process import seconds_for
from mbert_retrieval.sources.scan import SourceFile
from mbert_retrieval.sources.selection import EVERYTHING, Selection
from support.cli import run, run_json
from support.fuzzing import chance, record, trials

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(7200)]

NAMES = sorted({f"a.{suffix}" for row in LANGUAGES.values() for suffix in row.suffixes})
NAMES += sorted({name for row in LANGUAGES.values() for name in row.file_names})
NAMES += ["a.ipynb", "a.html", "a.htm", "a.pdf", "a.vue", "a.svelte", "a.j2", "a.erb", "noname"]
ODD = ["\x00", "\ufeff", "\u2028", "\x85", "\x0c", "\x1a", "\u202e", "e\u0301", "\U0001f468\u200d"]
ODD += ["\r", "\r\n", "\t", "\xa0", "\u3000", "\ufffd", "\U0010ffff", "İ", "ß", "\x1b[31m", "\x08"]
NESTS = [("(", ")"), ("[", "]"), ("{", "}"), ("<a>", "</a>"), ("<", ">"), ('"', '"'), ("'", "'")]
NESTS += [
    ("/*", "*/"),
    ("<!--", "-->"),
    ("```\n", "```\n"),
    ("begin ", " end"),
    ("> ", ""),
    ("- ", ""),
]
NESTS += [
    ("if x:\n ", ""),
    ("#", ""),
    ("*", "*"),
    ("{{", "}}"),
    ("<%", "%>"),
    ("$(", ")"),
    ("`", "`"),
]
LARGEST = 200_000  # characters


def seed_texts() -> list[str]:
    """Examples of the languages in the tests of sources, and files of the standard library."""
    texts = []
    for file in sorted((Path(__file__).parents[1] / "sources").glob("test_*.py")):
        text = file.read_text()
        texts.append(text)
        for node in ast.walk(ast.parse(text)):
            value = node.value if isinstance(node, ast.Constant) else None
            if isinstance(value, str) and len(value) > 30:
                texts.append(value)
    library = Path(sysconfig.get_path("stdlib"))
    texts += [
        file.read_text(errors="replace")[:40_000] for file in sorted(library.glob("[a-h]*.py"))
    ]
    return texts


def mutated(text: str, others: list[str], random: Random) -> str:
    for _ in range(random.choice([1, 1, 2, 4])):
        start, end = sorted(random.randint(0, len(text)) for _ in range(2))
        piece = text[start : min(end, start + random.choice([3, 40, 400, 4000]))]
        kind = random.choice(
            ["cut", "repeat", "splice", "nest", "odd", "lines", "swap", "one line"]
        )
        if kind == "cut":
            text = text[:start] + text[end:]
        elif kind == "repeat":
            text = text[:end] + piece * random.choice([2, 30, 3000]) + text[end:]
        elif kind == "splice":
            text = text[:start] + random.choice(others)[-4000:] + text[end:]
        elif kind == "nest":
            opening, closing = random.choice(NESTS)
            depth = random.choice([3, 200, 20_000])
            closing *= random.choice([0, depth, depth, depth - 1])
            text = text[:start] + opening * depth + piece + closing + text[end:]
        elif kind == "odd":
            for _ in range(random.choice([1, 20, 500])):
                at = random.randint(0, len(text))
                text = text[:at] + random.choice(ODD) + text[at:]
        elif kind == "lines":
            lines = text.splitlines(keepends=True)
            random.shuffle(lines)
            text = "".join(lines)
        elif kind == "swap":
            text = text.replace(
                random.choice("\n ({<\"'"), random.choice(["\n", " ", "(", "{", '"'])
            )
        else:
            text = text.replace("\n", " ")
        text = text[:LARGEST]
    return text


def encoded(text: str, random: Random) -> bytes:
    encoding = random.choice(["utf-8"] * 6 + ["utf-16", "latin-1", "utf-8-sig"])
    content = bytearray(text.encode(encoding, "replace"))
    if random.random() < 0.1 and content:
        for _ in range(random.choice([1, 50])):
            content[random.randrange(len(content))] = random.randrange(256)
    if random.random() < 0.05:
        declared = random.choice(["utf-7", "utf-8", "raw_unicode_escape", "rot13", "x" * 99])
        content[:0] = f"# -*- coding: {declared} -*-\n".encode()
    return bytes(content)


def check_passages(passages, path: str, content: bytes) -> None:
    assert len({passage.id for passage in passages}) == len(passages)
    for passage in passages:
        passage.text.encode()  # no lone surrogates
        assert passage.path == path
        assert passage.text.strip()
        if passage.start_line is not None:
            assert 1 <= passage.start_line <= passage.end_line <= len(content) + 1


def test_each_file_is_split_or_refused_in_time():
    texts = seed_texts()
    problems = []
    with ConfinedReader() as reader:
        for trial in range(trials(1500)):
            random = chance("sources", trial)
            name = random.choice(NAMES)
            content = encoded(mutated(random.choice(texts), texts, random), random)
            file = SourceFile(name, len(content), 0, explicit=random.random() < 0.3)
            selection = Selection(documents="whole") if random.random() < 0.1 else EVERYTHING
            begun = time.monotonic()
            try:
                check_passages(reader.passages(file, name, content, selection), name, content)
                outcome = "answers"
            except UnreadableError as reason:
                outcome = "failed"
                problems.append(f"trial {trial}, {name}: {reason}")
            except InputError as reason:
                outcome = "refused"
                if "crashes its parser" in str(reason) or "processor time" in str(reason):
                    outcome = "refused at a limit"
                if not str(reason).strip() or "\n" in str(reason):
                    problems.append(f"trial {trial}, {name}: the reason is {str(reason)!r}")
            except (AssertionError, UnicodeError) as error:
                outcome = "failed"
                problems.append(f"trial {trial}, {name}: {type(error).__name__} {error}")
            record("sources, file by file", outcome)
            if time.monotonic() - begun > 4 * seconds_for(len(content)) + 5:
                problems.append(f"trial {trial}, {name}: took {time.monotonic() - begun:.0f} s")
    assert not problems, "\n".join([f"{len(problems)} problems", *problems[:20]])


def test_builds_of_such_files_succeed(tmp_path):
    texts = seed_texts()
    for trial in range(trials(4)):
        random = chance("builds", trial)
        tree, index = tmp_path / str(trial), tmp_path / f"{trial}.index"
        tree.mkdir()
        (tree / "plain.py").write_text("def plain(): pass\n")
        for number in range(60):
            name = random.choice(NAMES)
            file = tree / (f"{number}{name[1:]}" if name.startswith("a.") else f"{number}/{name}")
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(encoded(mutated(random.choice(texts), texts, random), random))
        done = run("index", "build", tree, "--index", index, "--encoder", "none")
        assert done.returncode == 0, done.stderr[-1000:]
        assert "Traceback" not in done.stderr
        skipped = run_json("index", "info", "--skipped", "--index", index)
        assert all(row["reason"] for row in skipped)
        listed = {row["path"] for row in skipped}
        folder = IndexFolder.open(index)
        split = {
            str(tree / path) for path, state in folder.file_states().items() if not state.skipped
        }
        present = {str(file) for file in tree.rglob("*") if file.is_file()}
        assert {path for path in present if "/." not in path} <= listed | split
        assert folder.verify() == []
        record("sources, builds of 61 files", "answers")
