"""Where sources are, and what the paths of their passages are relative to."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.sources import source_root
from mbert_retrieval.sources.scan import scan
from support.sources import passages_of


def test_a_source_that_does_not_exist_is_named(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, expected in [("nope", "no such file or folder: .*nope"), ("loop", "cannot read")]:
        with pytest.raises(InputError, match=expected):
            passages_of(tmp_path / name)


def test_paths_are_relative_to_the_folder_of_all_sources(tmp_path):
    for name in ("p/src/a.py", "p/tests/b.py", "q/c.py", "q/data.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1")
    p, q = tmp_path / "p", tmp_path / "q"
    assert source_root([p]) == p
    assert source_root([p / "src", p / "tests"]) == p
    assert source_root([q / "c.py"]) == q
    assert source_root([p / "src", q / "data.jsonl"]) == p / "src"
    assert [x.path for x in passages_of(p / "src", root=p)] == ["src/a.py"]
    assert [x.path for x in passages_of(q / "c.py", root=p)] == [f"{q}/c.py"]


def test_collections_alone_have_no_common_folder(tmp_path, monkeypatch):
    (tmp_path / "c.jsonl").write_text("")
    monkeypatch.chdir(tmp_path.parent)
    assert source_root([tmp_path / "c.jsonl"]) == tmp_path.parent


@pytest.mark.parametrize("kind", [str, Path])
def test_one_path_instead_of_several_is_a_type_error(tmp_path, kind):
    with pytest.raises(TypeError, match="sequence of paths"):
        source_root(kind(tmp_path))
    with pytest.raises(TypeError, match="sequence of paths"):
        scan(kind(tmp_path), tmp_path)
