"""An index follows its sources: what is read, what is encoded, what is said and what is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mbert_retrieval import Index, InputError
from mbert_retrieval.sources import Selection, read_source
from mbert_retrieval.sources.scan import scan
from mbert_retrieval.sync.apply import apply_plan
from mbert_retrieval.sync.plan import plan_sync
from mbert_retrieval.sync.refresh import after_other_writers, plan_refresh
from support.cli import ids, run, run_json
from support.hash_encoder import HashEncoder

BODY = "    value = {n}\n    other = value + {n}\n    return other\n"


def module(*names: str) -> str:
    return "\n\n".join(f"def {name}():\n" + BODY.format(n=name) for name in names)


def sync_tree(index, tree, purpose="build", reread=False, progress=None):
    plan = plan_sync(tree, index.folder, reread, purpose)
    return apply_plan(plan, index.folder, index.encoders, progress)


class SyncedFolder:
    """A folder and an index of it, whose encoder tells what it was given."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "tree"
        self.root.mkdir()
        self.encoder = HashEncoder()
        self.index = Index.create(tmp_path / "i", self.encoder)

    def write(self, name: str, text: str, age: int = 100) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        self.age(name, age)

    def age(self, name: str, seconds: int) -> None:
        """Timestamps that are not of just now, as those of most files."""
        then = time.time() - seconds
        os.utime(self.root / name, (then, then))

    def sync(self, purpose="build", **options):
        self.encoder.encoded.clear()
        return sync_tree(self.index, scan([self.root], self.root), purpose, **options)

    def assert_as_built_anew(self, tmp_path: Path) -> None:
        stored = self.index.folder.passages(list(self.index.folder.content_hashes()))
        fresh = list(read_source(self.root, []))
        assert {p.id: p for p in stored} == {p.id: p for p in fresh}
        assert self.index.folder.verify() == []
        again = tmp_path / "again"
        shutil.rmtree(again, ignore_errors=True)
        rebuilt = Index.build(again, fresh, HashEncoder())
        for query in ("alpha value", "return other gamma"):
            for mode in ("vector", "lexical"):
                here = dict(self.index.search_many([query], 1000, mode)[0].ranking)
                assert here == pytest.approx(
                    dict(rebuilt.search_many([query], 1000, mode)[0].ranking)
                )


@pytest.fixture
def synced(tmp_path):
    return SyncedFolder(tmp_path)


def test_only_what_changed_is_encoded(synced, tmp_path):
    synced.write("a.py", module("alpha", "beta"))
    synced.write("b.py", module("gamma"))
    assert synced.sync().added == 3
    changes = synced.sync()
    assert (changes.unchanged, synced.encoder.encoded) == (3, [])
    synced.write("b.py", module("gamma", "delta"), age=50)
    changes = synced.sync()
    assert (changes.added, changes.unchanged) == (1, 3)
    assert [text.split()[0] for text in synced.encoder.encoded] == ["delta"]
    (synced.root / "a.py").unlink()
    assert synced.sync().deleted == 2
    synced.assert_as_built_anew(tmp_path)


def test_text_that_moves_keeps_its_vectors(synced, tmp_path):
    synced.write("a.py", module("alpha", "beta", "gamma"))
    synced.sync()
    synced.write("a.py", "import new\n\n\n" + module("beta", "alpha", "gamma"), age=50)
    changes = synced.sync()
    assert [text for text in synced.encoder.encoded if "def" in text] == []
    assert (changes.updated, changes.reused, changes.deleted) == (3, 3, 0)
    synced.assert_as_built_anew(tmp_path)


def test_text_that_comes_back_keeps_its_vectors(synced, tmp_path):
    """As when a branch is left and taken up again."""
    one, other = module("alpha", "beta", "gamma"), module("alpha", "delta", "gamma")
    for n in range(6):
        synced.write(f"other{n}.py", module(f"f{n}", f"g{n}"))
    synced.write("a.py", one)
    synced.sync()
    synced.write("a.py", other, age=50)
    synced.sync()
    assert len(synced.encoder.encoded) == 1
    synced.write("a.py", one, age=40)
    assert synced.sync().reused == 1
    assert synced.encoder.encoded == []
    synced.assert_as_built_anew(tmp_path)


def test_a_touched_file_is_read_once_more_and_no_oftener(synced):
    synced.write("a.py", module("alpha"))
    synced.sync()
    before = synced.index.folder.file_states()["a.py"]
    synced.age("a.py", 10)
    assert synced.sync().unchanged == 1
    after = synced.index.folder.file_states()["a.py"]
    assert after.sha256 == before.sha256
    assert after.mtime_ns > before.mtime_ns
    assert synced.encoder.encoded == []


def test_a_file_changed_within_its_timestamp_is_noticed(synced):
    """The size is the same, and the time too: only the hash can tell."""
    synced.write("a.py", module("alpha"), age=0)
    stamp = (synced.root / "a.py").stat().st_mtime_ns
    synced.sync()
    (synced.root / "a.py").write_text(module("gamma"))
    os.utime(synced.root / "a.py", ns=(stamp, stamp))
    synced.sync()
    assert "gamma" in synced.encoder.encoded[0]


names_of_functions = st.lists(
    st.sampled_from(["alpha", "beta", "gamma", "delta"]), max_size=4, unique=True
)
states = st.dictionaries(st.sampled_from(["a.py", "b.py", "d/c.py"]), names_of_functions)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(states, min_size=1, max_size=4))
def test_after_any_changes_the_index_is_as_one_built_anew(tmp_path_factory, history):
    folder = tmp_path_factory.mktemp("history")
    synced = SyncedFolder(folder)
    for age, state in enumerate(history):
        for file in synced.root.rglob("*.py"):
            file.unlink()
        for name, functions in state.items():
            synced.write(name, module(*functions), age=1000 - age)
        synced.sync()
        synced.assert_as_built_anew(folder)


def test_an_interruption_leaves_whole_files_and_the_next_run_goes_on(synced, tmp_path):
    for n in range(40):
        synced.write(f"f{n:02}.py", module(f"alpha{n}", f"beta{n}"))
    documents, calls = synced.encoder._documents, []

    def interrupted(texts):
        calls.append(texts)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return documents(texts)

    synced.encoder._documents = interrupted
    with pytest.raises(KeyboardInterrupt):
        synced.sync()
    kept = set(synced.index.folder.content_hashes())
    assert 0 < len(kept) < 80
    states = synced.index.folder.file_states()
    assert 0 < len(states) < 40
    for path in states:
        assert {p.id for p in read_source(synced.root / path, [], synced.root)} <= kept
    synced.encoder._documents = documents
    changes = synced.sync()
    assert len(synced.encoder.encoded) == 80 - len(kept) == changes.added
    synced.assert_as_built_anew(tmp_path)


def test_what_is_skipped_is_remembered_and_not_read_again(synced, monkeypatch):
    synced.write("a.py", module("alpha"))
    (synced.root / "data.bin").write_bytes(b"a\0b")
    synced.age("data.bin", 100)
    (synced.root / "link").symlink_to("a.py")
    synced.write("package-lock.json", "{}")
    synced.sync()
    reasons = {p: s.skipped for p, s in synced.index.folder.file_states().items() if s.skipped}
    assert reasons == {
        "data.bin": "binary",
        "link": "symbolic link",
        "package-lock.json": "generated (a lock file)",
    }
    monkeypatch.setattr("mbert_retrieval.sync.apply.read_file", None)  # any call would fail
    assert synced.sync().unchanged == 1
    (synced.root / "link").unlink()
    synced.sync()
    assert "link" not in synced.index.folder.file_states()


def test_passages_of_no_source_stay(synced):
    from mbert_retrieval import Passage

    synced.write("a.py", module("alpha"))
    synced.write("b.py", module("beta"))
    synced.sync()
    notes = [Passage("note", "by hand"), Passage("a.py:note", "about alpha", path="a.py")]
    synced.index.add(notes)
    (synced.root / "a.py").unlink()
    assert synced.sync("add").deleted == 0
    assert synced.sync("query").deleted == 1
    synced.write("a.py", module("alpha", "gamma"))
    for purpose in ("update", "build"):
        synced.sync(purpose)
        synced.sync(purpose, reread=True)
    synced.write("a.py", "", age=10)
    assert synced.sync("update").deleted == 2
    assert set(synced.index.folder.content_hashes()) == {"note", "a.py:note", "b.py:1-4"}


def test_another_selection_reads_everything_again(synced):
    synced.write("a.py", module("alpha"))
    synced.write("tests/b.py", module("beta"))
    synced.sync()
    chosen = scan([synced.root], synced.root, Selection(exclude=("tests/",)))
    assert list(chosen.files) == ["a.py"]
    assert sync_tree(synced.index, chosen, reread=True).deleted == 1
    assert list(synced.index.folder.file_states()) == ["a.py"]
    with pytest.raises(InputError, match=r"cannot read the pattern '!a'"):
        Selection(include=("!a",))


# The command line


@pytest.fixture
def built(tree):
    done = run("index", "build", tree, "--encoder", "none")
    assert done.returncode == 0, done.stderr
    return tree


def test_a_query_reads_what_changed_unless_told_not_to(built):
    (built / "net/http.py").write_text("def zebra_crossing():\n    return 1\n")
    assert run("search", "query", "zebra", "--no-update", cwd=built).returncode == 1
    (hit,) = run_json("search", "query", "zebra", cwd=built / "docs")
    assert hit["path"] == "net/http.py"
    (built / "net/http.py").unlink()
    assert run("search", "query", "zebra", cwd=built).returncode == 1


def test_a_query_answers_while_another_process_writes(built):
    (built / "new.txt").write_text("something new")
    with Index.open(built / ".mbert").folder.writer():
        done = run("search", "query", "retries", "--json", cwd=built)
    assert done.returncode == 0
    assert "net/retry.py" in done.stdout
    assert done.stderr.startswith("note: the answer is from the index as it was: ")
    assert f"process {os.getpid()}" in done.stderr


def test_queries_that_start_together_all_answer_from_the_edit(built):
    (built / "net/http.py").write_text("def zebra_crossing():\n    return 1\n")
    command = [sys.executable, "-m", "mbert_retrieval.cli.search", "query", "zebra", "-l"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    queries = [subprocess.Popen(command, cwd=built, **pipes) for _ in range(3)]
    answers = [query.communicate(timeout=60) for query in queries]
    assert answers == [("net/http.py\n", "")] * 3


def test_a_query_waits_for_a_writer_that_finishes(built):
    (built / "net/http.py").write_text("def zebra_crossing():\n    return 1\n")
    writer = Index.open(built / ".mbert").folder.writer()
    index = Index.open(built / ".mbert")
    plan = plan_refresh(index.folder)
    released = threading.Timer(0.3, writer.close)
    released.start()
    after_other_writers(lambda: apply_plan(plan, index.folder, index.encoders))
    assert index.search("zebra")


def test_a_query_answers_when_the_sources_are_gone(tree, tmp_path):
    run_json("index", "build", tree, "--index", tmp_path / "i", "--encoder", "none")
    shutil.rmtree(tree)
    done = run("search", "query", "retries", "--index", tmp_path / "i")
    assert done.returncode == 0
    assert "no such file or folder" in done.stderr


def test_one_index_a_repository(tree):
    subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
    run_json("index", "build", "net", "--encoder", "none", cwd=tree)
    assert (tree / ".mbert").is_dir()
    assert not (tree / "net/.mbert").exists()
    done = run("index", "build", "docs", "--encoder", "none", cwd=tree)
    assert done.returncode == 2
    assert "use mbert-index add, or name another index with --index" in done.stderr
    run_json("index", "add", "docs", cwd=tree)
    hits = run_json("search", "query", "cache tokens", cwd=tree / "docs")
    assert hits[0]["path"].endswith("docs/guide.md")


def test_worktrees_share_what_is_the_same(tree, tmp_path, tiny_encoder_folder):
    def git(*arguments: str) -> None:
        who = ("-c", "user.email=a@b", "-c", "user.name=a")
        subprocess.run(["git", *who, *arguments], cwd=tree, check=True, capture_output=True)

    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "all")
    run_json("index", "build", tree, "--encoder", tiny_encoder_folder)
    git("worktree", "add", "-q", str(tmp_path / "other"))
    other = tmp_path / "other"
    (other / "net/new.py").write_text("def zebra():\n    return 1\n")
    (facts,) = run_json("index", "build", other)
    assert (facts["added"], facts["unchanged"]) == (1, 5)
    assert ids(other / ".mbert") - ids(tree / ".mbert") == {"net/new.py:1-2"}
    vectors = list((tree / ".mbert/segments").rglob("*.npy"))
    shared = [p for p in vectors if p.stat().st_nlink > 1]
    assert shared == vectors
    (tree / "net/retry.py").unlink()
    run_json("index", "update", cwd=tree)
    assert run_json("index", "verify", cwd=other)[0]["whole"]
    assert run_json("search", "query", "retries", cwd=other)[0]["path"] == "net/retry.py"


def test_selections_are_kept_with_the_index(tree, tmp_path):
    common = ("--index", tmp_path / "i", "--encoder", "none")
    run_json("index", "build", tree, "--exclude", "docs/", "--max-bytes", "100", *common)
    assert {id.partition(":")[0] for id in ids(tmp_path / "i")} == {"net/http.py"}
    (tree / "net/more.py").write_text("x = 1\n")
    (tree / "docs/more.md").write_text("# More\n")
    run_json("index", "update", "--index", tmp_path / "i")
    assert {id.partition(":")[0] for id in ids(tmp_path / "i")} == {"net/http.py", "net/more.py"}
    listed = run("index", "info", "--skipped", "--index", tmp_path / "i").stdout
    assert listed.startswith(f"{tree}/net/retry.py: too large (")


def test_translations_are_left_out_unless_asked_for(tree, tmp_path):
    catalogue = '# Translators:\nmsgid "retries"\nmsgstr "Versuche"\n'
    for name in ("locale/de/app.po", "locale/app.pot", "app.XLF"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(catalogue)
        os.utime(tree / name, (1e9, 1e9))  # old: not looked into without a reason
    common = ("--index", tmp_path / "i", "--encoder", "none")
    (facts,) = run_json("index", "build", tree, *common)
    assert {one["path"]: one["reason"] for one in facts["skipped"]} == dict.fromkeys(
        [f"{tree}/app.XLF", f"{tree}/locale/app.pot", f"{tree}/locale/de/app.po"], "translations"
    )
    at = ("--index", tmp_path / "i")
    assert run("search", "query", "Versuche", *at).returncode == 1
    assert run_json("search", "query", "retries", *at)[0]["path"] == "net/retry.py"
    run_json("index", "build", tree, "--include", "*.po", "--include", "docs/", *common)
    assert {id.partition(":")[0] for id in ids(tmp_path / "i")} == {
        "locale/de/app.po",
        "docs/guide.md",
    }
    run_json("index", "build", tree, "--include", "locale/", "--include", "net/", *common)
    assert {Path(id.partition(":")[0]).parts[0] for id in ids(tmp_path / "i")} == {"net"}
    run_json("index", "build", tree, *common, "--include", "**")
    run_json("index", "add", tree / "locale/app.pot", *at)
    (hit,) = run_json("search", "query", "Versuche", *at)
    assert hit["path"] == "locale/app.pot"


def test_files_that_an_older_version_cut_are_read_again(tree):
    run_json("index", "build", tree, "--encoder", "none")
    index = Index.open(tree / ".mbert")
    with index.folder.writer() as writer:
        writer.set_settings(index.folder.settings | {"cutting": 1})
        writer.commit()
    (hit,) = run_json("search", "query", "parse_header", cwd=tree)
    assert hit["path"] == "net/http.py"
    done = run("search", "query", "parse_header", cwd=tree)
    assert done.stderr == (
        "note: the answer is from the index as it was: "
        "another version of this program cut the files: mbert-index update\n"
    )
    with index.folder.writer() as writer:  # as if it had cut otherwise
        writer.delete(["net/http.py:1-2"])
        writer.commit()
    assert run("search", "query", "parse_header", cwd=tree).returncode == 1
    (facts,) = run_json("index", "update", cwd=tree)
    assert facts["added"] == 1
    assert run("search", "query", "parse_header", cwd=tree).stderr == ""


def test_a_small_update_does_not_load_torch(tree, tiny_encoder_folder):
    run_json("index", "build", tree, "--encoder", tiny_encoder_folder)
    (tree / "net/new.py").write_text("def zebra():\n    return 1\n")
    script = (
        "import sys; sys.argv[1:] = ['update'];"
        "from mbert_retrieval.cli.index import app; app(standalone_mode=False);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tree, check=True)
    index = Index.open(tree / ".mbert")
    assert len(index.folder) == 6


def test_a_name_finds_its_definition_and_says_why(tmp_path, tiny_encoder_folder):
    from mbert_retrieval import Passage, load_encoder

    uses = [Passage(f"use{n}", f"result = alpha_beta(n{n}, alpha_beta)") for n in range(5)]
    facts = {"kind": "function", "name": "Outer.alpha_beta"}
    definition = Passage("defined", module("alpha_beta"), metadata=facts)
    index = Index.build(tmp_path / "i", [*uses, definition], load_encoder(tiny_encoder_folder))
    hits = index.search("alpha_beta", k=6)
    assert hits[0].passage.id == "defined"
    (found,) = index.search("alpha_beta").explain(["defined"])
    assert [leg.leg for leg in found.legs] == ["late", "lexical", "definition"]
    assert sum(leg.share for leg in found.legs) == pytest.approx(hits[0].score)
    (sentence,) = index.search("where alpha_beta is").explain(["defined"])
    assert [leg.leg for leg in sentence.legs] == ["late", "lexical"]
