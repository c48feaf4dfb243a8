"""`mbert-index` as a user runs it: in a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mbert_retrieval import Index
from support.cli import TREE, assert_refused, ids, run, run_json


@pytest.fixture
def built(tree):
    done = run("index", "build", tree, "--encoder", "none")
    assert done.returncode == 0, done.stderr
    return tree


def test_build_makes_an_index_inside_its_folder(built):
    assert ids(built / ".mbert") == {
        "net/retry.py:1-3",
        "net/retry.py:6-12",
        "net/http.py:1-2",
        "docs/guide.md:1-3",
        "docs/guide.md:5-7",
    }
    assert (built / ".mbert/.gitignore").read_text() == "*\n"


def test_update_follows_the_sources(built):
    (built / "net/http.py").unlink()
    (built / "net/retry.py").write_text(TREE["net/retry.py"].replace("closed", "lost"))
    (built / "new.txt").write_text("something new")
    (facts,) = run_json("index", "update", cwd=built / "net")
    assert {name: facts[name] for name in ("added", "updated", "unchanged", "deleted")} == {
        "added": 1,
        "updated": 1,
        "unchanged": 3,
        "deleted": 1,
    }
    (again,) = run_json("index", "build", built)
    assert (again["unchanged"], again["passages"]) == (5, 5)
    assert run_json("search", "query", "lost", cwd=built)[0]["path"] == "net/retry.py"


def test_a_moved_project_keeps_its_sources(built):
    moved = built.rename(built.with_name("moved"))
    (moved / "new.txt").write_text("something new")
    (facts,) = run_json("index", "update", cwd=moved)
    assert (facts["added"], facts["unchanged"], facts["deleted"]) == (1, 5, 0)


def test_add_and_delete(built, tmp_path):
    (tmp_path / "more.jsonl").write_text('{"_id": "m1", "text": "zebra", "year": 1999}\n')
    index = built / ".mbert"
    (facts,) = run_json("index", "add", tmp_path / "more.jsonl", "--index", index)
    assert (facts["added"], facts["deleted"], facts["passages"]) == (1, 0, 6)
    assert run_json("search", "query", "zebra", "--index", index)[0]["metadata"] == {"year": 1999}
    (facts,) = run_json("index", "update", "--index", index)
    assert (facts["unchanged"], facts["deleted"]) == (6, 0)
    assert run_json("index", "delete", "m1", "--index", index)[0]["deleted"] == 1
    assert_refused(run("index", "delete", "m1", "--index", index), "no passage has the id 'm1'")
    assert "m1" not in ids(index)


def test_several_sources_have_paths_from_their_common_folder(tree, tmp_path):
    index = tmp_path / "i"
    run_json("index", "build", tree / "net", tree / "docs", "--index", index, "--encoder", "none")
    paths = {id.partition(":")[0] for id in ids(index)}
    assert paths == {"net/retry.py", "net/http.py", "docs/guide.md"}


def test_info_and_verify(built):
    index = built / ".mbert"
    (facts,) = run_json("index", "info", "--index", index)
    assert facts["passages"] == 5
    assert (facts["legs"], facts["lexical"]) == ({}, True)
    files = [file for file in index.rglob("*") if file.is_file()]
    assert facts["bytes"] == sum(file.stat().st_size for file in files)
    assert facts["bytes"] == sum(facts["bytes_by_part"].values())
    assert re.search(r"^passages +5$", run("index", "info", "--index", index).stdout, re.M)
    assert run_json("index", "verify", "--index", index) == [
        {"index": str(index), "whole": True, "problems": []}
    ]
    assert run("index", "verify", "--index", index).stdout == f"{index}: no problems found\n"


def test_compact_makes_one_small_segment(tmp_path, tiny_encoder_folder):
    records = [json.dumps({"_id": f"d{n}", "text": f"text {n}"}) for n in range(30)]
    (tmp_path / "c.jsonl").write_text("\n".join(records))
    common = ("--index", tmp_path / "i")
    run_json("index", "build", tmp_path / "c.jsonl", "--encoder", tiny_encoder_folder, *common)
    run_json("index", "delete", *(f"d{n}" for n in range(10)), *common)
    (before,) = run_json("index", "info", *common)
    assert (before["segments"], before["tombstones"]) == (1, 10)
    (facts,) = run_json("index", "compact", *common)
    assert facts["replaced"] == 1
    (after,) = run_json("index", "info", *common)
    assert (after["segments"], after["tombstones"], after["passages"]) == (1, 0, 20)
    assert after["legs"]["late"]["vectors"] < before["legs"]["late"]["vectors"]
    assert after["bytes_by_part"]["vectors"] < before["bytes_by_part"]["vectors"]
    assert run_json("index", "verify", *common)[0]["whole"]
    assert ids(tmp_path / "i") == {f"d{n}" for n in range(10, 30)}


def test_export_writes_what_the_index_holds(tmp_path, tiny_encoder_folder):
    parquet = pytest.importorskip("pyarrow.parquet")
    records = [
        {"_id": "ü", "title": "T", "text": "read", "year": 1999},
        {"_id": "b", "text": "write the log"},
        {"_id": "c", "text": "gone"},
    ]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, records)))
    common = ("--index", tmp_path / "i")
    run_json("index", "build", tmp_path / "c.jsonl", "--encoder", tiny_encoder_folder, *common)
    run_json("index", "delete", "c", *common)
    (facts,) = run_json("index", "export", tmp_path / "out", *common)
    names = ["passages.parquet", "vectors_late.parquet"]
    assert facts["files"] == [str(tmp_path / "out" / name) for name in names]
    assert sorted(os.listdir(tmp_path / "out")) == names
    passages = parquet.read_table(tmp_path / "out" / names[0]).to_pylist()
    none = {"path": None, "start_line": None, "end_line": None}
    assert passages == [
        {"id": "ü", "title": "T", "text": "read", "metadata": '{"year": 1999}'} | none,
        {"id": "b", "title": "", "text": "write the log", "metadata": "{}"} | none,
    ]
    encoder = Index.open(tmp_path / "i").encoder
    expected = encoder.encode_documents(["T read", "write the log"])
    vectors = parquet.read_table(tmp_path / "out" / names[1]).to_pylist()
    assert [row["id"] for row in vectors] == ["ü", "b"]
    for row, rows in zip(vectors, expected, strict=True):
        assert row["vectors"] == [pytest.approx(line, abs=1e-5) for line in rows.tolist()]
    again = run("index", "export", tmp_path / "out", *common)
    assert_refused(again, "passages.parquet exists already: name another folder, or use --force")
    run_json("index", "export", tmp_path / "out", "--force", *common)
    (tmp_path / "file").write_text("x")
    assert_refused(run("index", "export", tmp_path / "file", *common), "cannot write to")


def test_verify_reports_damage(built):
    store = built / ".mbert/store.sqlite"
    content = store.read_bytes()
    assert b"connection is closed" in content
    store.write_bytes(content.replace(b"connection is closed", b"connection is closer"))
    done = run("index", "verify", "--json", cwd=built)
    assert done.returncode == 2
    facts = json.loads(done.stdout)
    assert not facts["whole"]
    assert any("net/retry.py:6-12" in problem for problem in facts["problems"])


def test_files_that_are_no_text_are_counted_and_listed(tree, tmp_path):
    (tree / "data.bin").write_bytes(b"a\0b")
    (tree / "latin.txt").write_bytes(b"caf\xe9")
    with open(tree / "huge.py", "wb") as file:
        file.truncate(1 << 30)
    common = ("index", "build", tree, "--encoder", "none", "--index", tmp_path / "i")
    done = run(*common)
    assert done.returncode == 0
    assert "3 files were skipped" in done.stderr
    verbose = run(*common, "--verbose").stderr.splitlines()
    assert f"skipped {tree}/data.bin: binary" in verbose
    assert f"skipped {tree}/latin.txt: not UTF-8 text" in verbose
    (facts,) = run_json(*common)
    reasons = {Path(file["path"]).name: file["reason"] for file in facts["skipped"]}
    assert reasons["huge.py"] == "too large (1,073,741,824 bytes, the limit is 1,048,576)"


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


@pytest.fixture
def junk(tmp_path):
    """Bad sources, and an index `i` that was built before."""
    for folder in ("void", "code"):
        (tmp_path / folder).mkdir()
    (tmp_path / "code/a.py").write_text("x = 1\n")
    (tmp_path / "data.bin").write_bytes(b"a\0b")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with open(tmp_path / "huge.py", "wb") as file:
        file.truncate(1 << 30)
    records = [json.dumps({"_id": f"d{n}", "text": f"text {n}"}) for n in range(30)]
    (tmp_path / "good.jsonl").write_text("\n".join(records))
    changed = [record.replace("text ", "changed ") for record in records]
    (tmp_path / "bad.jsonl").write_text("\n".join([*changed[:16], '{"_id": "x"', *changed[16:]]))
    (tmp_path / "bad2.jsonl").write_text('{"_id": "a", "text": ""}\n\n{"_id": "a", "text": ""}\n')
    Index.build(tmp_path / "i", [], None)
    run("index", "build", "good.jsonl", "--index", "i", cwd=tmp_path)
    return tmp_path


def test_bad_builds_say_so_in_a_line_and_leave_everything_whole(junk):
    names = sorted(path.name for path in junk.iterdir())
    before = {p.id: p.text for p in Index.open(junk / "i").folder.passages([*ids(junk / "i")])}
    assert len(before) == 30
    for case, (arguments, expected) in BAD_BUILDS.items():
        options = arguments if "--encoder" in arguments else [*arguments, "--encoder", "none"]
        try:
            assert_refused(run("index", "build", *options, cwd=junk), expected)
        except AssertionError as error:
            raise AssertionError(case) from error
    after = {p.id: p.text for p in Index.open(junk / "i").folder.passages([*ids(junk / "i")])}
    assert after == before
    assert Index.open(junk / "i").folder.verify() == []
    assert sorted(path.name for path in junk.iterdir()) == names
    assert not (junk / "code/.mbert").exists()


def test_other_commands_refuse_what_is_no_index(junk):
    commands = ("info", "verify", "update", "delete x", "add good.jsonl", "compact", "export out")
    for command in commands:
        done = run("index", *command.split(), "--index", "void", cwd=junk)
        assert_refused(done, "void is not an index")
    assert_refused(run("index", "info", cwd=junk), "no .mbert in this folder or above")
    Index.build(junk / "by-library", [], None)
    done = run("index", "update", "--index", "by-library", cwd=junk)
    assert_refused(done, "remembers no sources")


def test_a_newline_in_a_name_does_not_break_the_line(tmp_path):
    assert_refused(run("index", "build", "a\nb\x1b[31m", cwd=tmp_path), "no such file or folder")


def test_an_encoder_is_recorded_and_another_refused(tree, tiny_encoder_folder, tmp_path):
    encoder = shutil.copytree(tiny_encoder_folder, tmp_path / "encoder")
    (facts,) = run_json("index", "build", "tree", "--encoder", "encoder", cwd=tmp_path)
    assert facts["added"] == 5
    index = Index.open(tree / ".mbert")
    assert index.folder.legs["late"].encoder.name == str(encoder)
    assert {hit.passage.id for hit in index.search("retries", mode="vector")} == ids(
        tree / ".mbert"
    )
    done = run("index", "build", "tree", "--encoder", "none", cwd=tmp_path)
    assert_refused(done, f"was made with {encoder} (late), not with no encoder")
    settings = json.loads((encoder / "sentence_bert_config.json").read_text())
    settings["max_seq_length"] = 77
    (encoder / "sentence_bert_config.json").write_text(json.dumps(settings))
    done = run("index", "build", tree, "--encoder", encoder)
    assert_refused(done, "a different state or other settings of it")
    assert_refused(run("index", "build", tree), "a different state or other settings of it")
    assert_refused(run("search", "query", "retries", cwd=tree), "a different state")
    assert run_json("search", "query", "retries", "--mode", "lexical", cwd=tree)


def test_nothing_is_loaded_where_nothing_changed(tree, tiny_encoder_folder):
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


def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(tmp_path):
    records = [json.dumps({"_id": f"d{n}", "text": f"text {n}"}) for n in range(900)]
    (tmp_path / "c.jsonl").write_text("\n".join(records))
    script = INTERRUPTED.format(tests=str(Path(__file__).parents[1]))
    command = [sys.executable, "-c", script, "build", "c.jsonl", "--index", "i"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for _ in range(5):
        assert process.stderr.readline() == "chunk\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output == ""
    last = errors.splitlines()[-1]
    assert last.startswith("interrupted: i is whole and holds ")
    kept = int(last.split(" holds ")[1].split()[0])
    assert 0 < kept < 900
    assert len(ids(tmp_path / "i")) == kept
    done = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, check=True)
    facts = json.loads(done.stdout)
    assert (facts["unchanged"], facts["added"]) == (kept, 900 - kept)


def test_a_second_writer_is_turned_away(built):
    index = Index.open(built / ".mbert")
    with index.folder.writer():
        assert_refused(run("index", "update", cwd=built), f"process {os.getpid()}")


def test_help_is_fast_because_it_loads_nothing(tmp_path):
    started = time.perf_counter()
    for command, arguments in [("index", ["--help"]), ("index", ["build", "--help"])]:
        script = (
            f"import sys; sys.argv[1:] = {arguments}\n"
            f"from mbert_retrieval.cli.{command} import app\n"
            "app(standalone_mode=False)\n"
            "heavy = {'torch', 'faiss', 'transformers', 'rich', 'pygments', 'sqlite3'}\n"
            "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, text=True
        )
        assert "Usage:" in done.stdout
    assert time.perf_counter() - started < 10


def test_a_device_that_is_not_there_is_refused_before_anything_is_made(tmp_path):
    (tmp_path / "a.txt").write_text("some words")
    place = tmp_path / "i"
    done = run("index", "build", tmp_path / "a.txt", "--index", place, "--device", "cuda:97")
    assert_refused(done, "cuda:97")
    assert not place.exists()
