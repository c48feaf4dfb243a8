"""LIKE and GLOB over long text: SQLite's own answers, and never longer than the time limit."""

from __future__ import annotations

import sqlite3
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mbert_retrieval import InputError, Passage
from mbert_retrieval.errors import TimeLimitError
from mbert_retrieval.indexes import IndexFolder, text_patterns
from mbert_retrieval.indexes.deadline import time_limit

LONG = 300_000  # characters


@pytest.fixture(scope="module")
def connection():
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    text_patterns.install(connection)
    yield connection
    connection.close()


def answers(connection, word: str, pattern: str, text: str) -> tuple:
    statement = f"SELECT ?1 {word} ?2, {word.lower()}_in_time(?2, ?1)"
    return connection.execute(statement, (text, pattern)).fetchone()


@given(st.text("ab*?[]^-.", max_size=12), st.text("ab]-^.", max_size=12))
@example("*[]-a]*", "b-")
@example("[b-a]", "b")
@example("[^]a]?*", "bb")
@example("a[", "a[")
@example("*ab*ba", "aba")
def test_glob_matches_as_in_sqlite(connection, pattern, text):
    theirs, ours = answers(connection, "GLOB", pattern, text)
    assert theirs == ours


@given(st.text("aÄ%_.ks\u212a", max_size=12), st.text("AaÄäKS\n\u017f", max_size=12))
@example("%k%", "\u212a")
@example("_%_", "a")
def test_like_matches_as_in_sqlite(connection, pattern, text):
    theirs, ours = answers(connection, "LIKE", pattern, text)
    assert theirs == ours


@pytest.mark.parametrize("word", ["GLOB", "LIKE"])
@pytest.mark.parametrize("values", [(None, "a"), ("a", None), (5, "5"), (5, 5), ("1*", 12)])
def test_nulls_and_numbers_match_as_in_sqlite(connection, word, values):
    theirs, ours = answers(connection, word, *values)
    assert theirs == ours


@pytest.mark.parametrize("slice_steps", [1, 7, 64])
def test_slices_of_the_text_overlap(connection, monkeypatch, slice_steps):
    monkeypatch.setattr(text_patterns, "SLICE_STEPS", slice_steps)
    for text in ("x" * 30 + "needle" + "y" * 30, "needl" * 12, "needle" * 9):
        theirs, ours = answers(connection, "GLOB", "*n[e]e*le*", text)
        assert theirs == ours


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An index of three passages, one of which is long."""
    folder = IndexFolder.create(tmp_path_factory.mktemp("long") / "i", legs=[], lexical=True)
    with folder.writer() as writer:
        for id, text in (("long", "word " + "a" * LONG), ("short", "word a"), ("none", "word")):
            writer.add([Passage(id, text, path=f"{id}.py")], {})
        writer.commit()
    return folder


def ids(folder, where: str) -> set[str]:
    return {id for id, _ in folder.search_lexical(["word"], k=9, where=where)[0]}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("text GLOB '*aa*'", {"long"}),
        ("NOT text LIKE '%A%'", {"none"}),
        ("text NOT GLOB '*a*' OR path GLOB 'l*'", {"none", "long"}),
        ("text LIKE '%" + "a" * 100 + "%' AND start_line IS NULL", {"long"}),
        ("'long.py' GLOB path", {"long"}),
        ("missing GLOB '*' OR text GLOB '* a'", InputError),
    ],
)
def test_filters_select_by_long_text(folder, where, expected):
    if expected is InputError:
        with pytest.raises(InputError, match="no passage has a field 'missing'"):
            ids(folder, where)
    else:
        assert ids(folder, where) == expected


HOSTILE = [
    "text GLOB '*[^@]" + "?" * 9000 + "ZQ*'",
    "text LIKE '%" + "a" * 9000 + "b%'",
    "text GLOB text",
    "text GLOB '" + "*" + "[a-z]" * 1500 + "Z*'",
    " OR ".join(["text GLOB '*" + "?" * 60 + "Z*'"] * 300),
]


@pytest.mark.parametrize("where", HOSTILE)
def test_a_hostile_pattern_ends_with_the_time(folder, where):
    started = time.monotonic()
    with time_limit(0.3), pytest.raises(InputError, match=r"took too long|characters at most"):
        ids(folder, where)
    assert time.monotonic() - started < 1.5


def test_a_limit_leaves_the_index_usable(folder):
    with pytest.raises(TimeLimitError), time_limit(0):
        ids(folder, "text GLOB '*a*'")
    assert ids(folder, "path = 'none.py'") == {"none"}


def test_a_limit_is_of_its_own_thread_and_block(folder):
    with time_limit(60), pytest.raises(TimeLimitError), time_limit(0):
        ids(folder, "text GLOB '*a*'")
    with time_limit(0), pytest.raises(TimeLimitError), time_limit(60):
        ids(folder, "text GLOB '*a*'")
    assert ids(folder, "text GLOB '*aa*'") == {"long"}
