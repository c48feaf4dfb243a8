"""Which language a file is in, and that each language's grammar exists."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath

import pytest
from tree_sitter_language_pack import get_language

from mbert_retrieval.sources.languages import LANGUAGES, PROSE, language_of


@pytest.mark.parametrize(
    ("name", "first_line", "language"),
    [
        ("a.py", "", "python"),
        ("src/A.PY", "", "python"),
        ("rust.gemspec", "", "ruby"),
        ("Makefile", "", "make"),
        ("CMakeLists.txt", "", "cmake"),
        ("Containerfile", "", "dockerfile"),
        ("a.txt", "", "text"),
        ("a.unknown", "", "text"),
        ("run", "#!/usr/bin/env python3.11", "python"),
        ("run", "#!/bin/sh -e", "bash"),
        ("run", "#!/usr/bin/env node", "javascript"),
        ("run", "#!/usr/bin/Rscript", "r"),
        ("run", "#!/usr/bin/awk", "text"),
        ("run", "# no script /bin/sh", "text"),
        ("a.rb", "#!/bin/sh", "ruby"),
    ],
)
def test_the_language_follows_from_the_name_or_the_interpreter(name, first_line, language):
    assert language_of(PurePath(name), first_line) == language


def test_no_suffix_name_or_interpreter_belongs_to_two_languages():
    for field in ("suffixes", "file_names", "interpreters"):
        words = Counter(word for row in LANGUAGES.values() for word in getattr(row, field))
        assert [word for word, count in words.items() if count > 1] == []


def test_documents_are_split_at_headings():
    assert {"asciidoc", "markdown", "org", "restructuredtext", "tex", "text"} == PROSE


ECMASCRIPT = ("javascript", "typescript", "tsx")  # their rows share one list


@pytest.mark.parametrize("name", [name for name, row in LANGUAGES.items() if row.grammar])
def test_a_grammar_has_the_node_types_that_its_row_lists(name):
    grammar = LANGUAGES[name].grammar
    known = set()
    for sharing in ECMASCRIPT if name in ECMASCRIPT else [grammar.name]:
        language = get_language(sharing)
        known |= {language.node_kind_for_id(i) for i in range(language.node_kind_count)}
    listed = set(grammar.kinds)
    for field in ("transparent", "wrappers", "leading", "calls", "assignments"):
        listed |= getattr(grammar, field)
    for field in ("function_values", "type_values", "object_values"):
        listed |= getattr(grammar, field)
    assert listed <= known, listed - known
