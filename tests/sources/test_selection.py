"""`Selection`: which files its patterns take, and how an index stores it."""

from __future__ import annotations

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.sources import Selection


@pytest.mark.parametrize(
    ("pattern", "included", "other"),
    [
        ("*.py", ["a.py", "pkg/deep/a.py"], ["a.pyc", "py"]),
        ("docs/", ["docs/a.md", "pkg/docs/deep/a.md"], ["docs", "docs.md"]),
        ("/docs/*.md", ["docs/a.md"], ["docs/deep/a.md", "pkg/docs/a.md"]),
        ("src", ["src", "src/a.c", "pkg/src/a.c"], ["srcs/a.c"]),
    ],
)
def test_a_pattern_includes_files_and_what_is_in_folders(pattern, included, other):
    selection = Selection(include=(pattern,))
    assert [path for path in [*included, *other] if selection.includes(path)] == included


def test_all_files_are_included_without_patterns():
    assert Selection().includes("anything/at.all")
    assert not Selection().excludes("anything", is_folder=True)


def test_a_pattern_excludes_folders_and_files():
    selection = Selection(exclude=("build/", "/a/*.log"))
    assert selection.excludes("pkg/build", is_folder=True)
    assert not selection.excludes("pkg/build", is_folder=False)
    assert selection.excludes("a/x.log", is_folder=False)
    assert not selection.excludes("b/a/x.log", is_folder=False)


@pytest.mark.parametrize("pattern", ["", "# comment", "!a", "[a", "/", "b\\"])
@pytest.mark.parametrize("field", ["include", "exclude"])
def test_a_pattern_that_can_match_nothing_is_refused(pattern, field):
    with pytest.raises(InputError, match="cannot read the pattern"):
        Selection(**{field: (pattern,)})


@pytest.mark.parametrize("field", ["include", "exclude"])
def test_patterns_in_one_string_are_a_type_error(field):
    with pytest.raises(TypeError, match="tuples of patterns"):
        Selection(**{field: "*.py"})


def test_documents_have_three_values():
    with pytest.raises(InputError, match=r"documents must be .*, it is 'all'"):
        Selection(documents="all")


def test_a_size_limit_is_at_least_one_byte():
    assert Selection(max_bytes=1).max_bytes == 1
    with pytest.raises(InputError, match="at least 1 byte, it is 0"):
        Selection(max_bytes=0)


def test_json_states_what_differs_from_the_default():
    chosen = Selection(("*.py",), ("a/", "b"), 10, "cut")
    stored = {"include": ["*.py"], "exclude": ["a/", "b"], "max_bytes": 10, "documents": "cut"}
    assert chosen.to_json() == stored
    assert Selection().to_json() == {}


@pytest.mark.parametrize(
    "selection",
    [Selection(), Selection(("*.py",), ("a/", "b"), 10, "cut"), Selection(max_bytes=5)],
)
def test_json_gives_the_selection_back(selection):
    assert Selection.from_json(selection.to_json()) == selection
