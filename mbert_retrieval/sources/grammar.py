"""`Language` and its `Grammar`: what the table in `languages` describes each language with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Grammar:
    """What the nodes of a language's syntax trees mean.

    Args:
        name: The name of the grammar in `tree-sitter-language-pack`.
        kinds: Node types of definitions -> kind of passage ("function", "class", "module", ...).
        forms: For languages whose definitions are calls or lists, such as `(defn name ...)`:
            their first word -> kind. Takes the part of `kinds`.
        transparent_forms: First words of calls or lists whose children count in their stead.
        transparent: Nodes whose children count in their stead: conditions, blocks, lists.
        wrappers: Nodes that belong to the one definition inside (decorators, exports, templates),
            and are transparent if there is none.
        leading: Nodes, other than comments, that belong to the definition right below.
        calls: Calls, transparent if they call a function or pass an object with functions that is
            written right there.
        assignments: Nodes that give a name to a value. It is a definition if the value is one of
            the three following.
        function_values: Values that are functions.
        type_values: Values that are types.
        object_values: Values that count as classes if they contain functions.
        merge_clauses: Neighbouring functions of one name are one definition, as in Haskell.
    """

    name: str
    kinds: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, str] = field(default_factory=dict)
    transparent_forms: frozenset[str] = frozenset()
    transparent: frozenset[str] = frozenset()
    wrappers: frozenset[str] = frozenset()
    leading: frozenset[str] = frozenset()
    calls: frozenset[str] = frozenset()
    assignments: frozenset[str] = frozenset()
    function_values: frozenset[str] = frozenset()
    type_values: frozenset[str] = frozenset()
    object_values: frozenset[str] = frozenset()
    merge_clauses: bool = False


@dataclass(frozen=True)
class Language:
    """A language that files can be in.

    Args:
        name: As passages state it in their metadata.
        suffixes: Of file names, in lower case, without the dot.
        file_names: Complete file names, in lower case.
        interpreters: Programs in a `#!` line; digits may follow.
        prose: Whether its files are documents, which are split at headings.
        grammar: How to split its files at definitions. None to split by indentation.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    file_names: tuple[str, ...] = ()
    interpreters: tuple[str, ...] = ()
    prose: bool = False
    grammar: Grammar | None = None


def language(
    name: str,
    suffixes: str = "",
    *,
    file_names: str = "",
    interpreters: str = "",
    prose: bool = False,
    grammar: str = "",
    functions: str = "",
    types: str = "",
    modules: str = "",
    other_kinds: Mapping[str, str] | None = None,
    forms: Mapping[str, str] | None = None,
    merge_clauses: bool = False,
    **node_types: str,
) -> Language:
    """Return a language. Each string lists words, separated by spaces.

    Args:
        name: See `Language`.
        suffixes: See `Language`.
        file_names: See `Language`.
        interpreters: See `Language`.
        prose: See `Language`.
        grammar: The grammar's name in `tree-sitter-language-pack`, if it is not `name`.
        functions: Node types of the kind "function".
        types: Node types of the kind "class".
        modules: Node types of the kind "module".
        other_kinds: Kind -> node types.
        forms: Kind -> first words, see `Grammar`.
        merge_clauses: See `Grammar`.
        **node_types: The other fields of `Grammar`.

    Returns:
        The row. Its `grammar` is None if nothing of it is given.
    """
    kinds = {"function": functions, "class": types, "module": modules} | dict(other_kinds or {})
    described = Grammar(
        grammar or name,
        _kind_by_word(kinds),
        _kind_by_word(forms or {}),
        merge_clauses=merge_clauses,
        **{key: frozenset(words.split()) for key, words in node_types.items()},
    )
    return Language(
        name,
        tuple(suffixes.split()),
        tuple(file_names.split()),
        tuple(interpreters.split()),
        prose,
        described if described != Grammar(grammar or name) else None,
    )


def _kind_by_word(words_by_kind: Mapping[str, str]) -> dict[str, str]:
    return {word: kind for kind, words in words_by_kind.items() for word in words.split()}
