"""An index from somebody else is searched as it is, and nothing else, until the user trusts it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mbert_retrieval import Index, Passage, UntrustedError
from mbert_retrieval.cli.worktrees import copy_from_worktree
from mbert_retrieval.indexes import IndexFolder
from mbert_retrieval.search.encoders import IndexEncoders
from mbert_retrieval.sync.apply import sync_with_sources
from support.cli import assert_refused, run, run_here

ADVICE = "mbert-index trust"


@pytest.fixture
def stranger(tmp_path):
    """The environment of another user, who has a state folder of their own."""
    return {"XDG_STATE_HOME": str(tmp_path / "strangers-state")}


@pytest.fixture
def clone(tree, stranger):
    """A tree with an index by a stranger; it records a folder of this user's as its source."""
    secret = tree.parent / "secret"
    secret.mkdir()
    (secret / "bait.py").write_text("def bait(): pass\n")
    build = ("index", "build", tree, secret, "--index", tree / ".mbert", "--encoder", "none")
    done = run_here(*build, env=stranger)
    assert done.returncode == 0, done.stderr
    (secret / "password.py").write_text("PASSWORD = 'hunter2'\n")
    return tree


def texts(index) -> str:
    return json.dumps([p.text for p in IndexFolder.open(index).passages(list(ids(index)))])


def ids(index):
    return IndexFolder.open(index).content_hashes()


def test_a_query_reads_no_source_that_a_stranger_recorded(clone):
    done = run("search", "query", "retries", "-l", cwd=clone)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "net/retry.py")
    assert done.stderr.startswith("note: the index ")
    assert done.stderr.count("\n") == 1
    assert ADVICE in done.stderr
    assert "hunter2" not in texts(clone / ".mbert")


def test_after_trust_a_query_reads_the_sources(clone):
    done = run_here("index", "trust", cwd=clone)
    assert done.returncode == 0, done.stderr
    assert str(clone.parent / "secret") in done.stdout
    done = run_here("search", "query", "hunter2", "-l", cwd=clone)
    assert (done.returncode, done.stderr) == (0, "")
    assert "password.py" in done.stdout


def test_trust_can_be_revoked(clone):
    run_here("index", "trust", clone / ".mbert")
    assert run_here("index", "trust", "--revoke", cwd=clone).returncode == 0
    assert_refused(run_here("index", "update", cwd=clone), ADVICE)


@pytest.mark.parametrize(
    "arguments",
    [["update"], ["add", "net"], ["delete", "x"], ["compact"], ["build", "."]],
    ids=lambda arguments: arguments[0],
)
def test_an_index_of_a_stranger_is_not_changed(clone, arguments):
    before = texts(clone / ".mbert")
    assert_refused(run_here("index", *arguments, cwd=clone), ADVICE)
    assert texts(clone / ".mbert") == before


@pytest.mark.parametrize("command", [["info"], ["verify"], ["export", "out"], ["info", "--json"]])
def test_an_index_of_a_stranger_can_be_looked_at(clone, command):
    assert run_here("index", *command, cwd=clone).returncode == 0


@pytest.fixture
def built(tree):
    """A tree with an index of this user's."""
    done = run_here("index", "build", tree, "--encoder", "none")
    assert done.returncode == 0, done.stderr
    return tree


def test_what_the_user_makes_is_trusted(built):
    assert run_here("search", "query", "retries", cwd=built).stderr == ""
    assert json.loads(run_here("index", "info", "--json", cwd=built).stdout)["trusted"] is True


def test_a_moved_index_says_so_and_is_trusted_again(built):
    moved = built.rename(built.with_name("moved"))
    done = run_here("search", "query", "retries", cwd=moved)
    assert done.returncode == 0
    assert f"was moved or copied from {built / '.mbert'}" in done.stderr
    assert run_here("index", "trust", cwd=moved).returncode == 0
    assert run_here("index", "update", cwd=moved).returncode == 0


def test_another_index_at_the_same_path_is_not_trusted(built, stranger):
    shutil.rmtree(built / ".mbert")
    run_here("index", "build", built, "--encoder", "none", env=stranger)
    assert_refused(run_here("index", "update", cwd=built), ADVICE)


def test_a_linked_index_has_the_trust_of_its_target(built, tmp_path):
    (tmp_path / "link").symlink_to(built / ".mbert")
    assert run_here("index", "update", "--index", tmp_path / "link").returncode == 0


def test_an_entry_of_another_user_does_not_count(built):
    if os.getuid() != 0:
        pytest.skip("needs root, to give a file away")
    for entry in Path(os.environ["XDG_STATE_HOME"], "mbert_retrieval", "trusted").iterdir():
        if json.loads(entry.read_text())["index"] == str(built / ".mbert"):
            os.chown(entry, 65534, 65534)
    assert not IndexFolder.open(built / ".mbert").is_trusted


def test_an_index_works_in_its_process_where_nothing_can_be_recorded(tree, tmp_path):
    (tmp_path / "file").write_text("")
    nowhere = {"XDG_STATE_HOME": str(tmp_path / "file")}
    done = run("index", "build", tree, "--encoder", "none", env=nowhere)
    assert done.returncode == 0
    assert done.stderr.startswith("note: cannot record that you made the index")
    assert done.stderr.count("\n") == 1
    assert_refused(run("index", "update", cwd=tree, env=nowhere), ADVICE)
    assert_refused(run("index", "trust", cwd=tree, env=nowhere), "cannot record")


@pytest.mark.parametrize("by_stranger", [False, True])
def test_only_a_trusted_index_is_copied_to_a_worktree(tree, tmp_path, stranger, by_stranger):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *arguments], cwd=tree, check=True, capture_output=True)

    git("init")
    git("add", "-A")
    git("commit", "-m", "first")
    environment = stranger if by_stranger else {}
    done = run_here("index", "build", tree, "--encoder", "none", env=environment)
    assert done.returncode == 0, done.stderr
    git("worktree", "add", str(tmp_path / "other"))
    copy = tmp_path / "other" / ".mbert"
    copy_from_worktree(copy)
    assert copy.exists() is not by_stranger
    assert by_stranger or IndexFolder.open(copy).is_trusted


def test_the_library_adds_to_a_named_index_but_reads_no_recorded_sources(clone):
    index = Index.open(clone / ".mbert")
    with pytest.raises(UntrustedError, match=ADVICE):
        sync_with_sources(index.folder, index.encoders)
    assert index.add([Passage("mine", "text")]).added == 1


@pytest.fixture
def with_encoder(tree, tiny_encoder_folder, stranger):
    """A tree with an index that a stranger made with an encoder of their own."""
    build = ("index", "build", tree, "--encoder", tiny_encoder_folder)
    done = run_here(*build, env=stranger)
    assert done.returncode == 0, done.stderr
    return tree


def test_an_encoder_is_not_loaded_because_an_index_names_it(with_encoder):
    done = run_here("search", "query", "retries", "--no-update", cwd=with_encoder)
    assert_refused(done, "is not loaded (--encoder NAME")
    done = run_here("search", "query", "retries", "--mode", "lexical", cwd=with_encoder)
    assert done.returncode == 0, done.stderr


def test_the_same_encoder_can_be_named(with_encoder, tiny_encoder_folder):
    query = ("search", "query", "retries", "--no-update", "--encoder")
    done = run_here(*query, tiny_encoder_folder, cwd=with_encoder)
    assert (done.returncode, done.stderr) == (0, "")
    assert_refused(run_here(*query, "nano", cwd=with_encoder), "was made by encoder")


def test_a_name_of_the_hub_is_not_looked_up(with_encoder, monkeypatch):
    index = IndexFolder.open(with_encoder / ".mbert")
    loaded = []
    for load in ("load_encoder", "load_query_encoder"):
        monkeypatch.setattr(f"mbert_retrieval.encoders.{load}", lambda *a, **b: loaded.append(a))
    for load in ("document_encoder", "query_encoder"):
        with pytest.raises(UntrustedError):
            getattr(IndexEncoders(index), load)("late")
    assert loaded == []


def test_a_service_of_a_strangers_index_only_reads(clone):
    pytest.importorskip("fastapi")
    from starlette.testclient import TestClient

    from mbert_retrieval.serve.app import make_app
    from mbert_retrieval.serve.service import Service

    service = Service(clone / ".mbert")
    assert ADVICE in service.caution
    with TestClient(make_app(service, None), base_url="http://localhost") as client:
        assert client.get("/api/info").json()["writable"] is False
        for path, body in {"update": {}, "delete": {"ids": ["x"]}}.items():
            answer = client.post(f"/api/{path}", json=body)
            assert answer.status_code == 400, answer.text
            assert ADVICE in answer.text
    assert "hunter2" not in texts(clone / ".mbert")
