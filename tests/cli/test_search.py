"""`mbert-search` as a user runs it: in a process of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mbert_retrieval import Index, Passage
from mbert_retrieval.cli.snippets import MarkedLine, best_window
from mbert_retrieval.search.query_terms import term_pattern
from support.cli import TREE, assert_refused, run, run_json
from support.hash_encoder import standard_scores

HIT_KEYS = [
    "rank", "id", "score", "path", "start_line", "end_line", "title", "text", "metadata"
]  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A small tree, indexed lexically by the command itself."""
    root = tmp_path_factory.mktemp("tree")
    for name, content in TREE.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    done = run("index", "build", root, "--encoder", "none")
    assert done.returncode == 0, done.stderr
    return root


def test_json_hits_have_the_schema_and_point_at_their_lines(tree):
    done = run("search", "query", "retries connection", "--json", "-k", "3", cwd=tree / "docs")
    assert (done.returncode, done.stderr) == (0, "")
    hits = [json.loads(line) for line in done.stdout.splitlines()]
    assert [list(hit) for hit in hits] == [HIT_KEYS] * len(hits)
    assert [hit["rank"] for hit in hits] == [*range(1, len(hits) + 1)]
    assert hits[0]["id"] == "net/retry.py:6-12"
    assert hits[0]["title"] == "with_retries"
    assert hits[0]["metadata"] == {
        "language": "python",
        "kind": "function",
        "name": "with_retries",
        "signature": "def with_retries(call)",
        "doc": "Call again when the connection is closed.",
    }
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)
    for hit in hits:
        lines = (tree / hit["path"]).read_text().split("\n")
        assert hit["text"] == "\n".join(lines[hit["start_line"] - 1 : hit["end_line"]])
    assert hits == [hit.to_json() for hit in Index.open(tree / ".mbert").search(
        "retries connection", k=3
    )]  # fmt: skip


def test_plain_output_names_place_and_function_and_shows_lines(tree):
    done = run("search", "query", "closed", "connection", "-k", "1", cwd=tree / "net")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    head, *lines = done.stdout.splitlines()
    assert re.fullmatch(r" 1  \d+\.\d+ +retry\.py:6-12  with_retries", head)
    assert lines[1] == '       7      """Call again when the connection is closed."""'


def test_places_can_be_opened_from_here(tree, tmp_path):
    for here, expected in [
        (tree, "net/retry.py:6-12"),
        (tree / "docs", "../net/retry.py:6-12"),
        (tree.parent, f"{tree.name}/net/retry.py:6-12"),
        (tmp_path, f"{tree}/net/retry.py:6-12"),
    ]:
        done = run("search", "query", "closed", "--index", tree / ".mbert", cwd=here)
        assert done.stdout.split()[2] == expected


def test_colour_is_for_terminals_and_no_color_is_respected(tree):
    def on_terminal(**environment: str) -> str:
        leader, follower = pty.openpty()
        command = [sys.executable, "-m", "mbert_retrieval.cli.search", "query", "closed"]
        subprocess.run(
            command,
            cwd=tree,
            env={"PATH": os.environ["PATH"], "TERM": "xterm-256color"} | environment,
            stdout=follower,
            check=True,
        )
        os.close(follower)
        shown = b""
        try:
            while part := os.read(leader, 65536):
                shown += part
        except OSError:  # the end, on Linux
            pass
        os.close(leader)
        return shown.decode()

    colours = re.compile(r"\x1b\[[\d;]*3[0-7]|\x1b\[[\d;]*9[0-7]")
    assert colours.search(on_terminal())
    assert not colours.search(on_terminal(NO_COLOR="1"))


def test_nothing_found_is_exit_code_1_and_silent(tree):
    done = run("search", "query", "zygomorphic", cwd=tree)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    done = run("search", "query", "zygomorphic", "--json", cwd=tree)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_where_narrows(tree):
    arguments = ("search", "query", "the cache of retries", "--where", "language = 'markdown'")
    hits = run_json(*arguments, cwd=tree)
    assert {hit["path"] for hit in hits} == {"docs/guide.md"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["query", "  "], "the query is empty"),
        (["query", "x", "-k", "0"], "k must be at least 1"),
        (["query", "x", "-k", "many"], "-k"),
        (["query", "x", "--mode", "magic"], "unknown mode 'magic'"),
        (["query", "x", "--mode", "vector"], "has no vectors: use mode lexical"),
        (["query", "x", "--where", "language ="], "filter"),
        (["query", "x", "--where", "langage = 'x'"], "no passage has a field 'langage'"),
        (["query", "x", "--index", "net"], "net is not an index"),
        (["query", "x", "--index", "nope"], "nope is not an index"),
        (["query"], "Missing argument"),
        (["magic"], "magic"),
        ([], "Missing command"),
    ],
)
def test_bad_queries_say_so_in_a_line(tree, arguments, expected):
    assert_refused(run("search", *arguments, cwd=tree), expected)


def test_a_damaged_index_is_named(tree, tmp_path):
    index = tmp_path / "i"
    Index.build(index, [Passage("a", "x")], None)
    (index / "store.sqlite").write_bytes(b"no database, long enough to be looked at" * 100)
    assert_refused(run("search", "query", "x", "--index", index), "store.sqlite is damaged")


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    passages = [Passage(f"doc {n}", "word " * 3000) for n in range(200)]
    Index.build(tmp_path / "i", passages, None)
    for option in (["--json"], []):
        command = [sys.executable, "-m", "mbert_retrieval.cli.search", "query", "word", "-k", "200"]
        process = subprocess.Popen(
            [*command, *option, "--index", tmp_path / "i"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
        process.stderr.close()


def test_passages_of_a_collection_are_shown_and_cannot_drive_the_terminal(tmp_path):
    text = "filler words here. " * 60 + "the answer \x1b[2J\x07 is zebra\u202e! " + "more " * 200
    passages = [Passage("id\x1b[0m 1", text, title="A\ttitle\nof two lines", metadata={"n": "é"})]
    Index.build(tmp_path / "i", passages, None)
    done = run("search", "query", "zebra", "--index", tmp_path / "i")
    assert not set("\x1b\x07\u202e") & set(done.stdout)
    head, *lines = done.stdout.splitlines()
    assert head.endswith("id�[0m 1  A title of two lines")
    assert any("is zebra" in line for line in lines)
    assert len(lines) <= 6


def test_json_is_utf8_whatever_the_locale(tmp_path):
    Index.build(tmp_path / "i", [Passage("ü", "日本 zebra")], None)
    command = [sys.executable, "-m", "mbert_retrieval.cli.search", "query", "zebra", "--index"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*command, tmp_path / "i", "--json"], capture_output=True, env=environment, check=True
    )
    assert json.loads(done.stdout.decode("utf-8"))["text"] == "日本 zebra"
    done = subprocess.run(
        [*command, tmp_path / "i"], capture_output=True, env=environment, check=True
    )
    assert b"?? zebra" in done.stdout


def test_help_loads_nothing_heavy():
    script = (
        "import sys; sys.argv[1:] = ['query', '--help']\n"
        "from mbert_retrieval.cli.search import app\n"
        "app(standalone_mode=False)\n"
        "heavy = {'torch', 'faiss', 'transformers', 'rich', 'pygments', 'sqlite3'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert "--where" in done.stdout


def test_a_query_without_vectors_never_loads_torch(tree):
    script = (
        "import sys; sys.argv[1:] = ['query', 'retries']\n"
        "from mbert_retrieval.cli.search import app\n"
        "app(standalone_mode=False)\n"
        "assert not {'torch', 'faiss'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tree, check=True, capture_output=True)


def test_vectors_answer_through_the_command(tmp_path, tiny_encoder_folder):
    texts = ["read a file", "parse http headers", "retry when closed", "write to the log"]
    (tmp_path / "c.jsonl").write_text(
        "\n".join(json.dumps({"_id": text[:5], "text": text}) for text in texts)
    )
    index = tmp_path / "i"
    arguments = ("--index", index, "--encoder", tiny_encoder_folder)
    run_json("index", "build", tmp_path / "c.jsonl", *arguments)
    encoder = Index.open(index).encoder
    question = encoder.encode_queries(["retry"])[0]
    scores = {}
    for text in texts:
        document = encoder.encode_documents([text])[0]
        scores[text[:5]] = float((question @ document.T).max(axis=1).sum())
    hits = run_json("search", "query", "retry", "--mode", "vector", "--index", index)
    assert {hit["id"]: hit["score"] for hit in hits} == pytest.approx(scores, abs=1e-4)
    hybrid = run_json("search", "query", "retry", "--index", index)
    fused = standard_scores([(0.7, list(scores.items())), (0.3, [("retry", 1.0)])])
    assert {hit["id"]: hit["score"] for hit in hybrid} == pytest.approx(fused, abs=1e-3)


@pytest.mark.parametrize(
    ("query", "text", "found"),
    [
        ("readHTTPHeader", "read the http header", ["read", "http", "header"]),
        ("is it", "this isn't IS it", ["IS"]),
        ("it to", "bit IT to toe", ["IT", "to"]),
        ("the cache", "the caches", ["cache"]),
        ("a+b (c)", "aab c", ["c"]),
    ],
)
def test_words_are_found_as_bm25_takes_them_apart(query, text, found):
    pattern = term_pattern(query)
    assert pattern is not None
    assert pattern.findall(text) == found
    assert term_pattern("?! ...") is None


def test_the_snippet_holds_the_most_different_words():
    texts = ["retry retry retry", "", "", "", "", "", "", "http", "retry", "", ""]

    def first(texts, query, height):
        found = [term_pattern(query).finditer(text) for text in texts]
        marks = [[(*match.span(), 1.0) for match in each] for each in found]
        return best_window(list(map(MarkedLine, texts, marks)), height)

    assert first(texts, "retry http", 3) == 6
    assert first(texts, "absent", 3) == 0
    assert first(texts[:2], "retry", 3) == 0


def test_the_installed_commands_run(tree):
    for name in ("mbert-index", "mbert-search"):
        script = Path(sys.executable).with_name(name)
        if not script.exists():
            pytest.skip("the package is not installed here")
        done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"Usage: {name}")
