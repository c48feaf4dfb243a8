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

from mbert_retrieval import Index, Passage, __version__
from support.cli import (
    assert_loads_nothing_heavy,
    assert_refused,
    run,
    run_here,
    run_json,
    write_tree,
)
from support.hash_encoder import standard_scores

HIT_KEYS = [
    "rank", "id", "score", "path", "start_line", "end_line", "title", "text", "metadata"
]  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A small tree, indexed lexically by the command itself."""
    root = write_tree(tmp_path_factory.mktemp("tree"))
    done = run("index", "build", root, "--encoder", "none")
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def json_hits(tree):
    done = run("search", "query", "retries connection", "--json", "-k", "3", cwd=tree / "docs")
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_json_hits_are_those_of_the_library(tree, json_hits):
    result = Index.open(tree / ".mbert").search("retries connection", k=3)
    assert json_hits == [hit.to_json() for hit in result]


def test_json_hits_have_the_documented_keys(json_hits):
    assert [list(hit) for hit in json_hits] == [HIT_KEYS] * len(json_hits)


def test_json_hits_are_ranked_by_score(json_hits):
    assert [hit["rank"] for hit in json_hits] == [*range(1, len(json_hits) + 1)]
    scores = [hit["score"] for hit in json_hits]
    assert scores == sorted(scores, reverse=True)


def test_the_function_that_answers_is_first(json_hits):
    first = json_hits[0]
    assert (first["id"], first["title"]) == ("net/retry.py:6-12", "with_retries")
    assert first["metadata"] == {
        "language": "python",
        "kind": "function",
        "name": "with_retries",
        "signature": "def with_retries(call)",
        "doc": "Call again when the connection is closed.",
    }


def test_json_hits_have_the_lines_of_their_files(tree, json_hits):
    for hit in json_hits:
        lines = (tree / hit["path"]).read_text().split("\n")
        assert hit["text"] == "\n".join(lines[hit["start_line"] - 1 : hit["end_line"]])


@pytest.fixture(scope="module")
def plain_output(tree):
    done = run("search", "query", "closed", "connection", "-k", "1", cwd=tree / "net")
    assert done.returncode == 0
    return done.stdout


def test_plain_output_has_no_colours(plain_output):
    assert "\x1b" not in plain_output


def test_plain_output_names_path_lines_and_function(plain_output):
    assert re.match(r" 1  \d+\.\d+ +retry\.py:6-12  with_retries\n", plain_output)


def test_plain_output_shows_numbered_lines(plain_output):
    lines = plain_output.splitlines()
    assert lines[2] == '       7      """Call again when the connection is closed."""'


@pytest.mark.parametrize(
    ("here", "expected"),
    [
        ("{tree}", "net/retry.py:6-12"),
        ("{tree}/docs", "../net/retry.py:6-12"),
        ("{tree.parent}", "{tree.name}/net/retry.py:6-12"),
        ("{elsewhere}", "{tree}/net/retry.py:6-12"),
    ],
)
def test_paths_can_be_opened_from_the_current_folder(tree, tmp_path, here, expected):
    folder = here.format(tree=tree, elsewhere=tmp_path)
    done = run("search", "query", "closed", "--index", tree / ".mbert", cwd=Path(folder))
    assert done.stdout.split()[2] == expected.format(tree=tree)


def output_on_terminal(tree: Path, **environment: str) -> str:
    """Return what a search prints on a pseudo-terminal."""
    leader, follower = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "mbert_retrieval.cli.search", "query", "closed"],
        cwd=tree,
        env={"PATH": os.environ["PATH"], "TERM": "xterm-256color"} | environment,
        stdout=follower,
        check=True,
    )
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 65536):
            shown += chunk
    except OSError:  # the end, on Linux
        pass
    os.close(leader)
    return shown.decode()


COLOUR = re.compile(r"\x1b\[[\d;]*3[0-7]|\x1b\[[\d;]*9[0-7]")


def test_a_terminal_gets_colours(tree):
    assert COLOUR.search(output_on_terminal(tree))


def test_no_color_is_respected(tree):
    shown = output_on_terminal(tree, NO_COLOR="1")
    assert "retry.py" in shown
    assert not COLOUR.search(shown)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_no_hit_is_exit_code_1_and_silent(tree, options):
    done = run("search", "query", "zygomorphic", *options, cwd=tree)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_where_filters(tree):
    arguments = ("search", "query", "the cache of retries", "--where", "language = 'markdown'")
    hits = run_json(*arguments, cwd=tree)
    assert {hit["path"] for hit in hits} == {"docs/guide.md"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["query", "  "], "the query is empty"),
        (["query", "x", "-k", "0"], "k must be at least 1"),
        (["query", "x", "-k", "many"], "-k"),
        (["query", "x", "--nprobe", "0"], "--nprobe"),
        (["query", "x", "--candidates", "some"], "--candidates"),
        (["query", "\udcff"], "not valid Unicode"),
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
def test_a_bad_query_is_refused(tree, arguments, expected):
    assert_refused(run("search", *arguments, cwd=tree), expected)


def test_a_damaged_index_is_named(tree, tmp_path):
    index = tmp_path / "i"
    Index.build(index, [Passage("a", "x")], None)
    (index / "store.sqlite").write_bytes(b"no database, long enough to be looked at" * 100)
    assert_refused(run("search", "query", "x", "--index", index), "store.sqlite is damaged")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_reader_that_leaves_early_is_no_error(tmp_path, options):
    passages = [Passage(f"doc {n}", "word " * 3000) for n in range(200)]
    Index.build(tmp_path / "i", passages, None)
    command = [sys.executable, "-m", "mbert_retrieval.cli.search", "query", "word", "-k", "200"]
    process = subprocess.Popen(
        [*command, *options, "--index", tmp_path / "i"],
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


@pytest.fixture(scope="module")
def hostile_output(tmp_path_factory):
    """What is printed of a passage with control characters in its id, title and text."""
    index = tmp_path_factory.mktemp("hostile") / "i"
    text = "filler words here. " * 60 + "the answer \x1b[2J\x07 is zebra\u202e! " + "more " * 200
    passages = [Passage("id\x1b[0m 1", text, title="A\ttitle\nof two lines", metadata={"n": "é"})]
    Index.build(index, passages, None)
    return run("search", "query", "zebra", "--index", index).stdout


def test_passages_cannot_control_the_terminal(hostile_output):
    assert "zebra" in hostile_output
    assert not set("\x1b\x07\u202e") & set(hostile_output)


def test_a_heading_is_one_line(hostile_output):
    assert hostile_output.splitlines()[0].endswith("id�[0m 1  A title of two lines")


def test_a_snippet_is_short_and_has_the_answer(hostile_output):
    _, *lines = hostile_output.splitlines()
    assert any("is zebra" in line for line in lines)
    assert len(lines) <= 6


@pytest.mark.parametrize(
    ("options", "expected"), [(("--json",), "日本 zebra"), ((), "?? zebra")], ids=["json", "plain"]
)
def test_only_json_is_utf8_on_an_ascii_terminal(tmp_path, options, expected):
    Index.build(tmp_path / "i", [Passage("ü", "日本 zebra")], None)
    command = [sys.executable, "-m", "mbert_retrieval.cli.search", "query", "zebra", "--index"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*command, tmp_path / "i", *options], capture_output=True, env=environment, check=True
    )
    assert expected in done.stdout.decode("utf-8")


def test_help_loads_nothing_heavy():
    assert "--where" in assert_loads_nothing_heavy("search", "query", "--help")


def test_a_lexical_query_never_loads_torch(tree):
    script = (
        "import sys; sys.argv[1:] = ['query', 'retries']\n"
        "from mbert_retrieval.cli.search import app\n"
        "app(standalone_mode=False)\n"
        "assert not {'torch', 'faiss'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tree, check=True, capture_output=True)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory, tiny_encoder_folder):
    """(an index of four records with vectors, MaxSim of "retry" by id)."""
    folder = tmp_path_factory.mktemp("encoded")
    texts = ["read a file", "parse http headers", "retry when closed", "write to the log"]
    (folder / "c.jsonl").write_text(
        "\n".join(json.dumps({"_id": text[:5], "text": text}) for text in texts)
    )
    options = ("--index", folder / "i", "--encoder", tiny_encoder_folder)
    run_json("index", "build", folder / "c.jsonl", *options)
    encoder = Index.open(folder / "i").encoder
    query = encoder.encode_queries(["retry"])[0]
    scores = {}
    for text in texts:
        document = encoder.encode_documents([text])[0]
        scores[text[:5]] = float((query @ document.T).max(axis=1).sum())
    return folder / "i", scores


def test_vector_scores_are_maxsim(encoded):
    index, scores = encoded
    hits = run_json("search", "query", "retry", "--mode", "vector", "--index", index)
    assert {hit["id"]: hit["score"] for hit in hits} == pytest.approx(scores, abs=1e-4)


def test_hybrid_scores_are_fused(encoded):
    index, scores = encoded
    hits = run_json("search", "query", "retry", "--index", index)
    fused = standard_scores([(0.7, list(scores.items())), (0.3, [("retry", 1.0)])])
    assert {hit["id"]: hit["score"] for hit in hits} == pytest.approx(fused, abs=1e-3)


@pytest.mark.parametrize("name", ["mbert-index", "mbert-search"])
def test_an_installed_command_runs(name):
    script = Path(sys.executable).with_name(name)
    if not script.exists():
        pytest.skip("the package is not installed here")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"Usage: {name}")


@pytest.mark.parametrize("command", ["index", "search", "eval", "train"])
def test_every_command_says_its_version(command):
    done = run_here(command, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"mbert-{command}, version {__version__}\n"


@pytest.mark.parametrize("command", ["index", "search", "eval", "train"])
def test_help_into_a_closed_pipe_is_no_error(command):
    line = [sys.executable, "-m", f"mbert_retrieval.cli.{command}", "--help"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
