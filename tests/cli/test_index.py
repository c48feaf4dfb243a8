"""`mbert-index build`, `add`, `update` and `delete`, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mbert_retrieval import Index
from support.cli import (
    TREE,
    assert_loads_nothing_heavy,
    assert_refused,
    ids,
    run,
    run_json,
    write_tree,
)


def test_build_indexes_every_passage(built):
    assert ids(built / ".mbert") == {
        "net/retry.py:1-3",
        "net/retry.py:6-12",
        "net/http.py:1-2",
        "docs/guide.md:1-3",
        "docs/guide.md:5-7",
    }


def test_git_ignores_an_index_in_its_sources(built):
    assert (built / ".mbert/.gitignore").read_text() == "*\n"


@pytest.fixture(scope="module")
def updated(tmp_path_factory):
    """A tree after a file was deleted, one changed, one added, and `update`: (tree, its JSON)."""
    tree = write_tree(tmp_path_factory.mktemp("updated") / "tree")
    run_json("index", "build", tree, "--encoder", "none")
    (tree / "net/http.py").unlink()
    (tree / "net/retry.py").write_text(TREE["net/retry.py"].replace("closed", "lost"))
    (tree / "new.txt").write_text("something new")
    (facts,) = run_json("index", "update", cwd=tree / "net")
    return tree, facts


def test_update_counts_what_changed(updated):
    _, facts = updated
    changes = {"added": 1, "updated": 1, "unchanged": 3, "deleted": 1}
    assert facts.items() >= changes.items()


def test_update_makes_changed_text_searchable(updated):
    tree, _ = updated
    assert run_json("search", "query", "lost", cwd=tree)[0]["path"] == "net/retry.py"


def test_build_after_update_changes_nothing(updated):
    tree, _ = updated
    (facts,) = run_json("index", "build", tree)
    assert (facts["unchanged"], facts["passages"]) == (5, 5)


def test_a_moved_project_keeps_its_sources(built):
    moved = built.rename(built.with_name("moved"))
    (moved / "new.txt").write_text("something new")
    run("index", "trust", cwd=moved)
    (facts,) = run_json("index", "update", cwd=moved)
    assert (facts["added"], facts["unchanged"], facts["deleted"]) == (1, 5, 0)


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """A lexical index to which a record `m1` was added: (path, JSON of `add`)."""
    folder = tmp_path_factory.mktemp("added")
    index = write_tree(folder / "tree") / ".mbert"
    run_json("index", "build", folder / "tree", "--encoder", "none")
    (folder / "more.jsonl").write_text('{"_id": "m1", "text": "zebra", "year": 1999}\n')
    (facts,) = run_json("index", "add", folder / "more.jsonl", "--index", index)
    return index, facts


def test_add_counts_what_changed(added):
    _, facts = added
    assert (facts["added"], facts["deleted"], facts["passages"]) == (1, 0, 6)


def test_added_passages_have_their_metadata(added):
    index, _ = added
    assert run_json("search", "query", "zebra", "--index", index)[0]["metadata"] == {"year": 1999}


def test_update_reads_added_sources_too(added):
    index, _ = added
    (facts,) = run_json("index", "update", "--index", index)
    assert (facts["unchanged"], facts["deleted"]) == (6, 0)


def test_delete_deletes_by_id(built):
    id = "net/http.py:1-2"
    assert run_json("index", "delete", id, cwd=built)[0]["deleted"] == 1
    assert id not in ids(built / ".mbert")


def test_delete_refuses_an_unknown_id(built):
    before = ids(built / ".mbert")
    done = run("index", "delete", "net/http.py:1-2", "m1", cwd=built)
    assert_refused(done, "no passage has the id 'm1'")
    assert ids(built / ".mbert") == before


def test_several_sources_have_paths_from_their_common_folder(tree, tmp_path):
    index = tmp_path / "i"
    run_json("index", "build", tree / "net", tree / "docs", "--index", index, "--encoder", "none")
    paths = {id.partition(":")[0] for id in ids(index)}
    assert paths == {"net/retry.py", "net/http.py", "docs/guide.md"}


@pytest.fixture
def tree_with_binaries(tree):
    """A tree with three files that cannot be indexed."""
    (tree / "data.bin").write_bytes(b"a\0b")
    (tree / "latin.txt").write_bytes(b"caf\xe9")
    with open(tree / "huge.py", "wb") as file:
        file.truncate(1 << 30)
    return tree


def test_skipped_files_are_counted(tree_with_binaries):
    done = run("index", "build", tree_with_binaries, "--encoder", "none")
    assert done.returncode == 0
    assert "3 files were skipped" in done.stderr


@pytest.mark.parametrize("option", ["--list-skipped", "--verbose"])
def test_skipped_files_can_be_listed(tree_with_binaries, option):
    done = run("index", "build", tree_with_binaries, "--encoder", "none", option)
    lines = done.stderr.splitlines()
    assert f"skipped {tree_with_binaries}/data.bin: binary" in lines
    assert f"skipped {tree_with_binaries}/latin.txt: not UTF-8 text" in lines


def test_skipped_files_are_in_the_json(tree_with_binaries):
    (facts,) = run_json("index", "build", tree_with_binaries, "--encoder", "none")
    reasons = {Path(file["path"]).name: file["reason"] for file in facts["skipped"]}
    assert reasons["huge.py"] == "too large (1,073,741,824 bytes, the limit is 1,048,576)"


def test_info_lists_skipped_files(tree_with_binaries):
    run_json("index", "build", tree_with_binaries, "--encoder", "none")
    listed = run_json("index", "info", "--skipped", cwd=tree_with_binaries)
    names = {Path(file["path"]).name for file in listed}
    assert names == {"data.bin", "latin.txt", "huge.py"}


BAD_BUILDS = {
    "missing folder": (["nope"], "no such file or folder: nope"),
    "binary file": (["data.bin", "--index", "i"], "data.bin: binary"),
    "undecodable file": (["latin.txt", "--index", "i"], "latin.txt: not UTF-8 text"),
    "1 GB file": (["huge.py", "--index", "i"], "huge.py: too large (1,073,741,824 bytes"),
    "broken line 17": (["bad.jsonl", "--index", "i"], "bad.jsonl, line 17: not JSON"),
    "one id twice": (["bad2.jsonl", "--index", "i"], "line 3: id 'a' was already on line 1"),
    "empty folder": (["void"], "no text to index"),
    "no index named": (["good.jsonl"], "name the index with --index DIR"),
    "unknown encoder": (["code", "--encoder", "magic"], "unknown encoder 'magic'"),
    "unknown head": (["code", "--head", "magic"], "unknown head 'magic'"),
    "head without encoder": (["code", "--head", "both"], "--encoder none makes none"),
    "bits without encoder": (["code", "--nbits", "2"], "--encoder none makes none"),
    "unknown kind": (["code", "--kind", "magic"], "unknown index kind 'magic'"),
    "kind without encoder": (["code", "--kind", "faiss"], "--encoder none makes none"),
    "nothing to keep": (["code", "--no-lexical"], "would have neither"),
    "folder in use": (["code", "--index", "code"], "is not empty"),
    "unknown option": (["code", "--magic"], "--magic"),
    "no source": ([], "Missing argument"),
}


@pytest.fixture(scope="module")
def junk(tmp_path_factory):
    """A folder of bad sources, and a sound index `i`."""
    folder = tmp_path_factory.mktemp("junk")
    for name in ("void", "code"):
        (folder / name).mkdir()
    (folder / "code/a.py").write_text("x = 1\n")
    (folder / "data.bin").write_bytes(b"a\0b")
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    with open(folder / "huge.py", "wb") as file:
        file.truncate(1 << 30)
    records = [json.dumps({"_id": f"d{n}", "text": f"text {n}"}) for n in range(30)]
    (folder / "good.jsonl").write_text("\n".join(records))
    changed = [record.replace("text ", "changed ") for record in records]
    (folder / "bad.jsonl").write_text("\n".join([*changed[:16], '{"_id": "x"', *changed[16:]]))
    (folder / "bad2.jsonl").write_text('{"_id": "a", "text": ""}\n\n{"_id": "a", "text": ""}\n')
    Index.build(folder / "i", [], None)
    run("index", "build", "good.jsonl", "--index", "i", cwd=folder)
    Index.build(folder / "by-library", [], None)
    return folder


def state(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return the names in a folder, and the texts of its index `i` by id."""
    index = folder / "i"
    texts = {
        passage.id: passage.text for passage in Index.open(index).folder.passages([*ids(index)])
    }
    return sorted(path.name for path in folder.iterdir()), texts


@pytest.fixture(scope="module")
def bad_builds(junk):
    """Run each of BAD_BUILDS: (state before, finished processes by case)."""
    before = state(junk)
    finished = {}
    for case, (arguments, _) in BAD_BUILDS.items():
        options = arguments if "--encoder" in arguments else [*arguments, "--encoder", "none"]
        finished[case] = run("index", "build", *options, cwd=junk)
    return before, finished


@pytest.mark.parametrize("case", BAD_BUILDS)
def test_a_bad_build_is_refused(bad_builds, case):
    _, finished = bad_builds
    assert_refused(finished[case], BAD_BUILDS[case][1])


def test_bad_builds_change_nothing(bad_builds, junk):
    before, _ = bad_builds
    assert len(before[1]) == 30
    assert state(junk) == before
    assert Index.open(junk / "i").folder.verify() == []
    assert not (junk / "code/.mbert").exists()


@pytest.mark.parametrize(
    "command",
    ["info", "verify", "update", "delete x", "add good.jsonl", "compact", "export out"],
)
def test_a_folder_that_is_no_index_is_refused(junk, command):
    done = run("index", *command.split(), "--index", "void", cwd=junk)
    assert_refused(done, "void is not an index")


def test_an_index_must_be_named_where_none_is_near(junk):
    assert_refused(run("index", "info", cwd=junk), "no .mbert in this folder or above")


def test_an_index_without_sources_cannot_be_updated(junk):
    done = run("index", "update", "--index", "by-library", cwd=junk)
    assert_refused(done, "remembers no sources")


def test_a_newline_in_a_name_does_not_break_the_line(tmp_path):
    assert_refused(run("index", "build", "a\nb\x1b[31m", cwd=tmp_path), "no such file or folder")


@pytest.fixture(scope="module")
def built_with_encoder(tmp_path_factory, tiny_encoder_folder):
    """(a tree indexed with an encoder by its relative path, that encoder)."""
    folder = tmp_path_factory.mktemp("with-encoder")
    encoder = shutil.copytree(tiny_encoder_folder, folder / "encoder")
    tree = write_tree(folder / "tree")
    run_json("index", "build", "tree", "--encoder", "encoder", cwd=folder)
    return tree, encoder


@pytest.fixture
def with_changed_encoder(built_with_encoder):
    """The same tree while a setting of the encoder is another."""
    tree, encoder = built_with_encoder
    file = encoder / "sentence_bert_config.json"
    original = file.read_text()
    file.write_text(json.dumps(json.loads(original) | {"max_seq_length": 77}))
    yield tree, encoder
    file.write_text(original)


def test_an_encoder_is_recorded_with_its_absolute_path(built_with_encoder):
    tree, encoder = built_with_encoder
    assert Index.open(tree / ".mbert").folder.legs["late"].encoder.name == str(encoder)


def test_every_passage_has_vectors(built_with_encoder):
    tree, _ = built_with_encoder
    hits = Index.open(tree / ".mbert").search("retries", mode="vector")
    assert {hit.passage.id for hit in hits} == ids(tree / ".mbert")


def test_another_encoder_is_refused(built_with_encoder):
    tree, encoder = built_with_encoder
    done = run("index", "build", "tree", "--encoder", "none", cwd=tree.parent)
    assert_refused(done, f"was made with {encoder} (late), not with no encoder")


@pytest.mark.parametrize("options", [(), ("--encoder", "encoder")])
def test_build_refuses_an_encoder_that_has_changed(with_changed_encoder, options):
    tree, _ = with_changed_encoder
    done = run("index", "build", "tree", *options, cwd=tree.parent)
    assert_refused(done, "a different state or other settings of it")


def test_search_refuses_an_encoder_that_has_changed(with_changed_encoder):
    tree, _ = with_changed_encoder
    assert_refused(run("search", "query", "retries", cwd=tree), "a different state")


def test_words_can_be_searched_without_the_encoder(with_changed_encoder):
    tree, _ = with_changed_encoder
    assert run_json("search", "query", "retries", "--mode", "lexical", cwd=tree)


def test_update_loads_no_torch_where_nothing_changed(tree, tiny_encoder_folder):
    run_json("index", "build", tree, "--encoder", tiny_encoder_folder)
    script = (
        "import sys; sys.argv[1:] = ['update'];"
        "from mbert_retrieval.cli.index import app; app(standalone_mode=False);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tree, check=True)


INTERRUPTED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" makes it be ignored
sys.path.insert(0, {tests!r})
import mbert_retrieval.encoders
from support.hash_encoder import HashEncoder

class Slow(HashEncoder):
    def _documents(self, texts):
        print("chunk", file=sys.stderr, flush=True)
        time.sleep(0.1)
        return super()._documents(texts)

mbert_retrieval.encoders.load_encoder = lambda name, head: Slow()
mbert_retrieval.encoders.load_query_encoder = lambda name, kind: Slow()
from mbert_retrieval.cli.index import main
main()
"""


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A build of 900 records that Ctrl+C interrupted: (folder, command, exit code, output)."""
    folder = tmp_path_factory.mktemp("interrupted")
    records = [json.dumps({"_id": f"d{n}", "text": f"text {n}"}) for n in range(900)]
    (folder / "c.jsonl").write_text("\n".join(records))
    script = INTERRUPTED.format(tests=str(Path(__file__).parents[1]))
    command = [sys.executable, "-c", script, "build", "c.jsonl", "--index", "i"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for _ in range(5):
        assert process.stderr.readline() == "chunk\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    return folder, command, process.returncode, output, errors.splitlines()[-1]


def test_ctrl_c_ends_with_exit_code_130(interrupted):
    _, _, code, output, _ = interrupted
    assert (code, output) == (130, "")


def test_ctrl_c_says_what_is_stored_and_the_same_command_goes_on(interrupted):
    folder, command, _, _, line = interrupted
    stored = int(re.search(r"^interrupted: i .* (\d+) passages", line)[1])
    assert 0 < stored < 900
    assert len(ids(folder / "i")) == stored
    done = subprocess.run([*command, "--json"], cwd=folder, capture_output=True, check=True)
    facts = json.loads(done.stdout)
    assert (facts["unchanged"], facts["added"]) == (stored, 900 - stored)


def test_a_second_writer_is_refused(built):
    index = Index.open(built / ".mbert")
    with index.folder.writer():
        assert_refused(run("index", "update", cwd=built), f"process {os.getpid()}")


@pytest.mark.parametrize("arguments", [["--help"], ["build", "--help"]])
def test_help_loads_nothing_heavy(arguments):
    assert "Usage:" in assert_loads_nothing_heavy("index", *arguments)


def test_an_unknown_device_is_refused_before_anything_is_made(tmp_path):
    (tmp_path / "a.txt").write_text("some words")
    index = tmp_path / "i"
    done = run("index", "build", tmp_path / "a.txt", "--index", index, "--device", "cuda:97")
    assert_refused(done, "cuda:97")
    assert not index.exists()
