"""`where` against Python predicates, and that nothing but a filter gets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbert_retrieval import InputError, Passage
from mbert_retrieval.indexes import IndexFolder
from mbert_retrieval.indexes.filtering import parse_where

PASSAGES = [
    Passage("a", "x", path="src/a.py", start_line=1, end_line=9, metadata={"lang": "python"}),
    Passage("b", "x", path="tests/b.py", start_line=5, metadata={"lang": "python", "n": 3}),
    Passage("c", "x", path="src/c.rs", metadata={"lang": "rust", "n": 2.5, "ok": True}),
    Passage("d", "x", title="It's", metadata={"path": "meta", "by": {"name": "Ann", "b c": 1}}),
    Passage("é", "x", metadata={"Sprache": "Deutsch", "ok": False, "nothing": None}),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("filtering") / "index"
    folder = IndexFolder.create(path, legs=[], lexical=True)
    with folder.writer() as writer:
        writer.add(PASSAGES, {})
        writer.commit()
    return folder


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("lang = 'python'", "ab"),
        ("lang == 'python' AND start_line > 1", "b"),
        ("lang = 'rust' or id = 'é'", "cé"),
        ("id = 'a' OR id = 'b' AND n = 4", "a"),
        ("(id = 'a' OR id = 'b') AND NOT n = 3", ""),
        ("not path like 'tests/%'", "ac"),
        ("path NOT LIKE 'TESTS/%'", "ac"),
        ("path GLOB 'src/*.py'", "a"),
        ("n BETWEEN 2.5 AND 3", "bc"),
        ("n not between 2.6 and 3", "c"),
        ("n IN (3, 4, -5)", "b"),
        ("lang NOT IN ('python')", "c"),
        ("path IS NULL", "dé"),
        ("path is not null and end_line is null", "bc"),
        ("title = 'It''s'", "d"),
        ("ok", "c"),
        ("ok = false", "é"),
        ("NOT NOT ok", "c"),
        ("Sprache = 'Deutsch'", "é"),
        ("metadata.path = 'meta'", "d"),
        ("by.name = 'Ann'", "d"),
        ('by."b c" = 1', "d"),
        ("n > start_line OR 3 > n", "c"),
        ("start_line<=5 AND end_line>=1e0", "a"),
        (" OR ".join(f"start_line = {n}" for n in range(2000, 0, -1)), "ab"),
        ("id = 'a; DROP TABLE passages'", ""),
    ],
)
def test_selects(folder, where, expected):
    assert {id for id, _ in folder.search_lexical(["x"], k=9, where=where)[0]} == set(expected)


@pytest.mark.parametrize(
    "where",
    [
        "",
        "   ",
        "lang =",
        "= 3",
        "lang = 'python",
        "lang = 'python'; DROP TABLE passages",
        "lang = 'python' -- comment",
        "id IN (SELECT id FROM passages)",
        "load_extension('x')",
        "length(id) = 1",
        "id = (",
        "(id = 'a'",
        "id = 'a')",
        "id IN ()",
        "id IS 'a'",
        "id NOT 'a'",
        "id 'a'",
        "n BETWEEN 1",
        "id = 'a' AND",
        "id || 'a'",
        "n = 12abc",
        "id = ?",
        "(" * 100 + "id = 'a'" + ")" * 100,
        "OR".join([" id = 'a' "] * 5000),
    ],
)
def test_refuses_with_one_line(folder, where):
    with pytest.raises(InputError, match=r"^filter ") as refusal:
        folder.search_lexical(["x"], k=9, where=where)
    assert "\n" not in str(refusal.value)


def test_a_field_that_no_passage_has_is_a_mistake(folder):
    with pytest.raises(InputError, match="no passage has a field 'langage'"):
        folder.search_lexical(["x"], k=9, where="langage = 'python'")


@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(where):
    try:
        parsed = parse_where(where)
    except InputError:
        return
    assert parsed.sql.count("?") == len(parsed.parameters)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_values_never_reach_the_sql(value):
    quoted = value.replace("'", "''")
    parsed = parse_where(f"id = '{quoted}'")
    assert (parsed.sql, parsed.parameters) == ("(passages.id = ?)", [value])
