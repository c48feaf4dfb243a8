"""The languages of files: by which names they are recognised, and how their code is split.

To add a language, add a row to `_LANGUAGES`. Its name and file suffixes are enough: its code is
then split by indentation. To split it at definitions, list the node types of its tree-sitter
grammar, which must be one of `tree-sitter-language-pack`; `Grammar` explains the fields. This shows
the nodes of a piece of code:

    from tree_sitter_language_pack import get_parser
    print(get_parser("lua").parse(b"function f() end").root_node)

Then add an example to `EXAMPLES` in tests/sources/test_syntax_blocks.py.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

from .grammar import language

_ECMASCRIPT: dict[str, Any] = {
    "transparent": "if_statement else_clause try_statement catch_clause finally_clause "
    "statement_block parenthesized_expression function_expression arrow_function "
    "unary_expression arguments object return_statement",
    "calls": "call_expression new_expression",
    "wrappers": "export_statement ambient_declaration lexical_declaration variable_declaration "
    "expression_statement",
    "assignments": "variable_declarator assignment_expression field_definition "
    "public_field_definition pair",
    "function_values": "arrow_function function_expression generator_function function",
    "type_values": "class",
    "object_values": "object",
    "leading": "decorator",
}
_ECMASCRIPT_FUNCTIONS = (
    "function_declaration generator_function_declaration method_definition function_signature "
    "method_signature abstract_method_signature"
)
_ECMASCRIPT_TYPES = (
    "class_declaration abstract_class_declaration interface_declaration enum_declaration "
    "type_alias_declaration"
)
_C_TRANSPARENT = (
    "preproc_if preproc_ifdef preproc_else preproc_elif preproc_elifdef linkage_specification "
    "declaration_list"
)

_LANGUAGES = (
    language("asciidoc", "adoc asciidoc", prose=True),
    language(
        "bash",
        "sh bash zsh ksh bats",
        interpreters="bash zsh ksh sh",
        functions="function_definition",
        transparent="if_statement elif_clause else_clause case_statement case_item list "
        "compound_statement",
    ),
    language(
        "c",
        "c h",
        functions="function_definition",
        types="struct_specifier enum_specifier union_specifier type_definition",
        transparent=_C_TRANSPARENT,
    ),
    language(
        "clojure",
        "clj cljs cljc edn",
        forms={
            "function": "defn defn- defmacro defmulti defmethod deftest",
            "class": "defprotocol defrecord deftype",
        },
        transparent_forms="do when when-not",
        transparent="read_cond_lit",
    ),
    language(
        "cmake",
        "cmake",
        file_names="cmakelists.txt",
        functions="function_def macro_def",
        transparent="if_condition foreach_loop body",
    ),
    language(
        "cpp",
        "cc cpp cxx c++ hh hpp hxx h++ ipp inl cu cuh",
        functions="function_definition",
        types="class_specifier struct_specifier enum_specifier union_specifier "
        "type_definition alias_declaration concept_definition",
        modules="namespace_definition",
        transparent=_C_TRANSPARENT,
        wrappers="template_declaration",
    ),
    language(
        "csharp",
        "cs",
        functions="method_declaration constructor_declaration destructor_declaration "
        "operator_declaration local_function_statement",
        types="class_declaration interface_declaration struct_declaration "
        "record_declaration enum_declaration delegate_declaration",
        modules="namespace_declaration",
        transparent="preproc_if preproc_elif preproc_else",
        wrappers="global_statement",
    ),
    language(
        "css",
        "css scss sass less",
        other_kinds={"rule": "rule_set media_statement keyframes_statement"},
    ),
    language("csv", "csv tsv"),
    language("cython", "pyx pxd pxi"),
    language(
        "dart",
        "dart",
        functions="function_signature method_signature",
        types="class_definition mixin_declaration enum_declaration extension_declaration",
        leading="annotation",
    ),
    language("dockerfile", file_names="dockerfile containerfile"),
    language(
        "elixir",
        "ex exs",
        forms={
            "module": "defmodule defprotocol defimpl",
            "function": "def defp defmacro defmacrop defguard defdelegate test",
            "class": "describe",
        },
        transparent_forms="if unless for",
        transparent="do_block else_block",
        leading="unary_operator",
        merge_clauses=True,
    ),
    language(
        "emacs-lisp",
        "el",
        grammar="elisp",
        functions="function_definition macro_definition",
        transparent="list",
    ),
    language(
        "erlang",
        "erl hrl",
        functions="fun_decl",
        types="record_decl",
        leading="spec",
        merge_clauses=True,
    ),
    language(
        "fortran",
        "f f90 f95 f03 for",
        functions="subroutine function",
        types="derived_type_definition",
        modules="module",
        transparent="internal_procedures program preproc_if preproc_ifdef preproc_elif "
        "preproc_else",
    ),
    language("fsharp", "fs fsi fsx"),
    language("gdscript", "gd", functions="function_definition", types="class_definition"),
    language(
        "go", "go", functions="function_declaration method_declaration", types="type_declaration"
    ),
    language("graphql", "graphql gql"),
    language("groovy", "groovy gradle", file_names="jenkinsfile"),
    language(
        "haskell",
        "hs lhs",
        functions="function bind",
        types="data_type newtype type_synomym class instance",
        transparent="declarations",
        leading="signature haddock pragma",
        merge_clauses=True,
    ),
    language("html", "html htm xhtml vue svelte astro jinja j2"),
    language("ini", "ini cfg conf properties"),
    language(
        "java",
        "java",
        functions="method_declaration constructor_declaration compact_constructor_declaration",
        types="class_declaration interface_declaration enum_declaration "
        "record_declaration annotation_type_declaration",
        transparent="enum_body_declarations",
    ),
    language(
        "javascript",
        "js jsx mjs cjs",
        interpreters="node",
        functions=_ECMASCRIPT_FUNCTIONS,
        types=_ECMASCRIPT_TYPES,
        **_ECMASCRIPT,
    ),
    language("json", "json jsonl ndjson json5 jsonc ipynb geojson"),
    language(
        "julia",
        "jl",
        functions="function_definition macro_definition",
        types="struct_definition abstract_definition",
        modules="module_definition",
        transparent="if_statement elseif_clause else_clause compound_statement block",
        wrappers="macrocall_expression macro_argument_list",
        leading="string_literal",
    ),
    language(
        "kotlin",
        "kt kts",
        functions="function_declaration secondary_constructor",
        types="class_declaration object_declaration companion_object type_alias",
    ),
    language("lisp", "lisp scm rkt ss"),
    language(
        "lua",
        "lua",
        interpreters="lua",
        functions="function_declaration",
        transparent="if_statement elseif_statement else_statement do_statement for_statement "
        "while_statement block",
        wrappers="variable_declaration",
        assignments="assignment_statement",
        function_values="function_definition",
    ),
    language(
        "make",
        "mk make",
        file_names="makefile gnumakefile",
        other_kinds={"rule": "rule"},
        transparent="conditional else_directive elsif_directive",
    ),
    language("markdown", "md markdown mdx rmd qmd", prose=True),
    language(
        "matlab",
        "m",
        functions="function_definition",
        types="class_definition",
        transparent="methods",
    ),
    language(
        "nim",
        "nim",
        functions="proc_declaration func_declaration method_declaration iterator_declaration "
        "template_declaration macro_declaration",
        types="type_section",
        transparent="when if elif_branch else_branch statement_list",
    ),
    language("nix", "nix"),
    language(
        "ocaml",
        "ml mli",
        functions="value_definition method_definition",
        types="type_definition class_definition",
        modules="module_definition",
    ),
    language("org", "org", prose=True),
    language("pascal", "pas pp dpr"),
    language(
        "perl",
        "pl pm t",
        interpreters="perl",
        functions="subroutine_declaration_statement method_declaration_statement",
        types="class_statement",
        transparent="phaser_statement conditional_statement elsif else block block_statement "
        "package_statement",
    ),
    language(
        "php",
        "php phtml",
        interpreters="php",
        functions="function_definition method_declaration",
        types="class_declaration interface_declaration trait_declaration enum_declaration",
        transparent="compound_statement if_statement else_clause else_if_clause colon_block "
        "try_statement catch_clause finally_clause namespace_definition",
    ),
    language(
        "powershell",
        "ps1 psm1 psd1",
        functions="function_statement class_method_definition",
        types="class_statement",
        transparent="statement_list if_statement elseif_clauses elseif_clause else_clause "
        "try_statement catch_clauses catch_clause finally_clause statement_block",
    ),
    language("protobuf", "proto", grammar="proto", types="message service enum"),
    language(
        "python",
        "py pyi pyw",
        interpreters="python",
        functions="function_definition",
        types="class_definition",
        transparent="if_statement elif_clause else_clause try_statement except_clause "
        "finally_clause with_statement for_statement "
        "while_statement match_statement case_clause block",
        wrappers="decorated_definition",
    ),
    language(
        "r",
        "r",
        interpreters="Rscript",
        transparent="if_statement braced_expression",
        assignments="binary_operator",
        function_values="function_definition",
    ),
    language("restructuredtext", "rst rest", prose=True),
    language(
        "ruby",
        "rb rake gemspec ru",
        file_names="gemfile rakefile",
        interpreters="ruby",
        functions="method singleton_method",
        types="class",
        modules="module",
        transparent="if unless elsif else then begin rescue ensure do_block body_statement "
        "singleton_class",
        wrappers="call argument_list",
    ),
    language(
        "rust",
        "rs",
        functions="function_item function_signature_item macro_definition",
        types="struct_item enum_item union_item trait_item impl_item type_item",
        modules="mod_item",
        leading="attribute_item",
    ),
    language(
        "scala",
        "scala sc sbt",
        functions="function_definition function_declaration",
        types="class_definition trait_definition enum_definition type_definition "
        "object_definition extension_definition given_definition package_object",
        transparent="package_clause template_body",
    ),
    language(
        "solidity",
        "sol",
        functions="function_definition modifier_definition constructor_definition",
        types="contract_declaration interface_declaration library_declaration struct_declaration",
    ),
    language(
        "sql",
        "sql ddl dml",
        functions="create_function create_trigger",
        other_kinds={"table": "create_table create_view create_materialized_view create_type"},
        wrappers="statement",
    ),
    language(
        "swift",
        "swift",
        functions="function_declaration init_declaration deinit_declaration "
        "subscript_declaration protocol_function_declaration",
        types="class_declaration protocol_declaration typealias_declaration",
    ),
    language(
        "terraform",
        "tf tfvars hcl",
        grammar="hcl",
        other_kinds={"key": "block"},
        transparent="body",
    ),
    language("tex", "tex sty cls bib", prose=True),
    language("text", "txt text log", prose=True),
    language("toml", "toml", other_kinds={"key": "table table_array_element"}),
    language(
        "tsx",
        "tsx",
        functions=_ECMASCRIPT_FUNCTIONS,
        types=_ECMASCRIPT_TYPES,
        modules="internal_module module",
        **_ECMASCRIPT,
    ),
    language(
        "typescript",
        "ts mts cts",
        functions=_ECMASCRIPT_FUNCTIONS,
        types=_ECMASCRIPT_TYPES,
        modules="internal_module module",
        **_ECMASCRIPT,
    ),
    language("verilog", "v sv svh vh"),
    language("vhdl", "vhd vhdl"),
    language(
        "vim",
        "vim",
        functions="function_definition",
        transparent="if_statement elseif_statement else_statement body",
    ),
    language("xml", "xml xsd xsl xslt svg plist"),
    language(
        "yaml",
        "yaml yml",
        other_kinds={"key": "block_mapping_pair"},
        transparent="document block_node block_mapping",
    ),
    language(
        "zig",
        "zig",
        functions="FnProto TestDecl",
        wrappers="Decl",
        leading="doc_comment",
        assignments="VarDecl",
        type_values="ContainerDecl",
    ),
)

LANGUAGES = {row.name: row for row in _LANGUAGES}
PROSE = frozenset(row.name for row in _LANGUAGES if row.prose)

_BY_SUFFIX = {f".{suffix}": row.name for row in _LANGUAGES for suffix in row.suffixes}
_BY_FILE_NAME = {name: row.name for row in _LANGUAGES for name in row.file_names}
_BY_INTERPRETER = {program: row.name for row in _LANGUAGES for program in row.interpreters}
_SCRIPT = re.compile(rf"#!.*?\b(?P<interpreter>{'|'.join(_BY_INTERPRETER)})")


def language_of(path: PurePath, first_line: str = "") -> str:
    """Return the name of a file's language.

    It follows from the file's name, else from a `#!` in the first line. "text" if neither tells.
    """
    name = _BY_FILE_NAME.get(path.name.lower()) or _BY_SUFFIX.get(path.suffix.lower())
    if name is None and (script := _SCRIPT.match(first_line)):
        return _BY_INTERPRETER[script["interpreter"]]
    return name or "text"
