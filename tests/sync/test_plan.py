"""A sync plan: what has to be read, by size and modification time alone."""

from __future__ import annotations

import os

import pytest

from mbert_retrieval import Index, InputError
from mbert_retrieval.indexes.trust import record_trust
from mbert_retrieval.sources.scan import scan
from mbert_retrieval.sync.apply import apply_plan, sync_with_sources
from mbert_retrieval.sync.plan import plan_sync
from mbert_retrieval.sync.provenance import Provenance, record, record_more


@pytest.fixture
def sources(tmp_path):
    root = tmp_path / "src"
    root.mkdir()
    for name in ("a.py", "b.py"):
        write(root / name, f"def {name[0]}():\n    return 1\n")
    return root


def write(file, text, mtime=1_000_000_000):
    file.write_text(text)
    os.utime(file, (mtime, mtime))


@pytest.fixture
def index(sources, tmp_path):
    made = Index.create(tmp_path / "i", None)
    sync(made, sources)
    return made


def sync(index, root):
    plan = plan_sync(scan([root], root), index.folder)
    return apply_plan(plan, index.folder, index.encoders)


def plan_of(index, root, **options):
    return plan_sync(scan([root], root), index.folder, **options)


def test_without_an_index_everything_is_new(sources):
    plan = plan_sync(scan([sources], sources))
    assert [path for path, _ in plan.changed] == ["a.py", "b.py"]
    assert plan.generation == 0


def test_unchanged_files_make_an_empty_plan(index, sources):
    assert not plan_of(index, sources)


def test_another_modification_time_is_looked_into(index, sources):
    os.utime(sources / "a.py", (1_000_000_001, 1_000_000_001))
    assert [path for path, _ in plan_of(index, sources).changed] == ["a.py"]


def test_another_size_at_the_same_time_is_looked_into(index, sources):
    write(sources / "b.py", "def other():\n    return 12\n")
    assert [path for path, _ in plan_of(index, sources).changed] == ["b.py"]


def test_a_file_that_is_gone_is_named(index, sources):
    (sources / "a.py").unlink()
    plan = plan_of(index, sources)
    assert (plan.gone, plan.changed) == (["a.py"], [])
    assert plan


def test_a_file_that_is_skipped_from_now_on_is_named_once(index, sources):
    (sources / "link").symlink_to("a.py")
    plan = plan_of(index, sources)
    assert [state.path for state in plan.skipped] == ["link"]
    apply_plan(plan, index.folder, index.encoders)
    assert not plan_of(index, sources)


def test_reading_again_reads_what_looks_unchanged(index, sources):
    (sources / "b.py").unlink()
    plan = plan_of(index, sources, reread=True)
    assert [path for path, _ in plan.changed] == ["a.py"]
    assert plan.gone == ["b.py"]


def test_a_collection_is_read_when_it_changed(index, sources, tmp_path):
    records = tmp_path / "r.jsonl"
    write(records, '{"id": "1", "text": "one"}\n')
    plan = plan_sync(scan([sources, records], tmp_path), index.folder)
    assert plan.collections
    apply_plan(plan, index.folder, index.encoders)
    assert not plan_sync(scan([sources, records], tmp_path), index.folder).collections


def test_the_records_of_a_collection_that_is_gone_go_without_reading_the_others(tmp_path):
    for name in ("r", "s", "t"):
        write(tmp_path / f"{name}.jsonl", f'{{"id": "{name}", "text": "one"}}\n')
    index = Index.create(tmp_path / "i", None)
    tree = scan([tmp_path / "r.jsonl", tmp_path / "s.jsonl"], tmp_path)
    apply_plan(plan_sync(tree, index.folder), index.folder, index.encoders)
    plan = plan_sync(scan([tmp_path / "s.jsonl"], tmp_path), index.folder)
    assert (plan.collections, plan.gone) == (False, ["r.jsonl"])
    assert apply_plan(plan, index.folder, index.encoders).deleted == 1
    assert set(index.folder.content_hashes()) == {"s"}
    (tmp_path / "s.jsonl").rename(tmp_path / "u.jsonl")  # its records are the new file's
    plan = plan_sync(scan([tmp_path / "u.jsonl"], tmp_path), index.folder)
    assert apply_plan(plan, index.folder, index.encoders).deleted == 0
    assert set(index.folder.content_hashes()) == {"s"}


def test_two_records_with_one_id_are_named_before_anything_is_written(tmp_path):
    for name in ("r", "s"):
        write(tmp_path / f"{name}.jsonl", '{"id": "1", "text": "one"}\n')
    plan = plan_sync(scan([tmp_path / "r.jsonl", tmp_path / "s.jsonl"], tmp_path))
    with pytest.raises(InputError, match="two passages with the id '1'"):
        plan.check_collections(lambda count: None)


def test_a_plan_of_an_older_commit_is_made_anew(index, sources):
    stale = plan_of(index, sources)
    write(sources / "a.py", "def a():\n    return 2\n", 1_000_000_009)
    sync(index, sources)
    (sources / "b.py").unlink()
    stale.tree = scan([sources], sources)
    changes = apply_plan(stale, index.folder, index.encoders)
    assert (changes.deleted, len(index)) == (1, 1)


def test_a_file_read_right_after_its_change_is_hashed_once_more_but_not_counted(index, sources):
    (sources / "new.py").write_text("def new():\n    return 3\n")
    sync(index, sources)
    plan = plan_of(index, sources)
    assert [path for path, _ in plan.changed] == ["new.py"]
    assert plan.count_settled() == 0


def test_sources_are_remembered(index, sources):
    record(index.folder, scan([sources], sources))
    remembered = Provenance.of(index.folder)
    assert (remembered.paths, remembered.root) == ([sources], sources)
    assert remembered.is_current


def test_more_sources_are_remembered_beside_the_first(index, sources, tmp_path):
    record(index.folder, scan([sources], sources))
    other = tmp_path / "other"
    other.mkdir()
    record_more(index.folder, scan([other], sources))
    assert Provenance.of(index.folder).paths == [sources, other]


def test_an_index_of_no_sources_remembers_no_more(index, tmp_path):
    record_more(index.folder, scan([tmp_path / "src"], tmp_path))
    assert Provenance.of(index.folder).paths == []


def test_an_index_inside_its_sources_can_move_with_them(sources, tmp_path):
    index = Index.create(sources / ".mbert", None)
    sync(index, sources)
    record(index.folder, scan([sources], sources))
    moved = sources.rename(tmp_path / "moved")
    write(moved / "c.py", "def c():\n    return 4\n")
    index = Index.open(moved / ".mbert")
    record_trust(index.path, index.folder.manifest.index_id)
    assert sync_with_sources(index.folder, index.encoders).added == 1


def test_an_index_that_knows_no_sources_says_so(index):
    with pytest.raises(InputError, match="does not know its sources"):
        sync_with_sources(index.folder, index.encoders)


def test_a_skipped_file_has_no_size_time_or_hash(index, sources):
    (sources / "link").symlink_to("a.py")
    (state,) = plan_of(index, sources).skipped
    assert (state.size, state.mtime_ns, state.sha256) == (0, 0, "")
    assert state.skipped


def test_another_reason_for_skipping_is_recorded(index, sources):
    (sources / "link").symlink_to("a.py")
    sync(index, sources)
    tree = scan([sources], sources)
    for reason in ("a", "zzz"):
        tree.skipped["link"] = reason
        assert [state.skipped for state in plan_sync(tree, index.folder).skipped] == [reason]


def test_a_skipped_file_that_is_gone_is_no_collection(index, sources):
    (sources / "link").symlink_to("a.py")
    sync(index, sources)
    (sources / "link").unlink()
    plan = plan_of(index, sources)
    assert (plan.gone, plan.collections) == (["link"], False)


def test_changed_and_new_files_are_counted(index, sources):
    write(sources / "a.py", "def a():\n    return 22\n")
    write(sources / "c.py", "def c():\n    return 3\n")
    assert plan_of(index, sources).count_settled() == 2


def test_each_kind_of_change_alone_makes_a_plan_of_something_to_do(index, sources):
    (sources / "link").symlink_to("a.py")
    plan = plan_of(index, sources)
    assert (plan.changed, plan.gone, plan.collections) == ([], [], False)
    assert plan


def plan_of_records(folder, text):
    write(folder / "r.jsonl", text)
    return plan_sync(scan([folder / "r.jsonl"], folder))


def test_collections_without_a_passage_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no text to index in .*r\.jsonl"):
        plan_of_records(tmp_path, "\n").check_collections(lambda count: None)


def test_collections_beside_files_may_be_empty(sources):
    write(sources.parent / "r.jsonl", "\n")
    plan = plan_sync(scan([sources, sources.parent / "r.jsonl"], sources.parent))
    plan.check_collections(lambda count: None)


def test_collections_are_read_with_progress(tmp_path):
    records = "".join(f'{{"id": "{n}", "text": "one"}}\n' for n in range(2500))
    seen = []
    plan_of_records(tmp_path, records).check_collections(seen.append)
    assert seen == [1000, 2000]


def test_unchanged_collections_are_not_read(tmp_path, monkeypatch):
    plan = plan_of_records(tmp_path, '{"id": "1", "text": "one"}\n')
    index = Index.create(tmp_path / "i", None)
    apply_plan(plan, index.folder, index.encoders)
    monkeypatch.setattr("mbert_retrieval.sync.plan.collection_passages", None)  # a call would fail
    again = plan_sync(scan([tmp_path / "r.jsonl"], tmp_path), index.folder)
    again.check_collections(lambda count: None)
