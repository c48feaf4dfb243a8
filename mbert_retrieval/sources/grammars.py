"""What the trees of each language call a function, a type, a module: one small table a language.

The grammars are those of `tree-sitter-language-pack`, which are inside its wheel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Grammar:
    """name: the grammar's. kinds: node type -> kind of unit.

    transparent: nodes whose children stand for them (conditions, blocks, lists).
    wrappers: nodes that belong to the one definition inside (decorators, exports, templates);
        transparent where there is none.
    invoked: calls, transparent where they call a function, or give an object with functions, that
        is written right there.
    assigned: nodes that name a value; values: those that are functions; types: those that are
        types; objects: those that are classes where there are functions in them.
    leading: nodes that belong to the definition right below, beside comments.
    equations: neighbours of one name are one definition, with its signature.
    forms: definitions are calls or lists: the first word -> kind; "" for transparent ones.
    """

    name: str
    kinds: dict[str, str]
    transparent: frozenset[str] = frozenset()
    wrappers: frozenset[str] = frozenset()
    invoked: frozenset[str] = frozenset()
    assigned: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    objects: frozenset[str] = frozenset()
    leading: frozenset[str] = frozenset()
    equations: bool = False
    forms: dict[str, str] = field(default_factory=dict)


def _grammar(
    name: str,
    function: str = "",
    type: str = "",
    module: str = "",
    *,
    other: dict[str, str] | None = None,
    transparent: str = "",
    wrappers: str = "",
    invoked: str = "",
    assigned: str = "",
    values: str = "",
    types: str = "",
    objects: str = "",
    leading: str = "",
    equations: bool = False,
    forms: dict[str, str] | None = None,
) -> Grammar:
    kinds = {
        node: kind
        for kind, nodes in {"function": function, "class": type, "module": module}.items()
        for node in nodes.split()
    }
    return Grammar(
        name,
        kinds | (other or {}),
        transparent=frozenset(transparent.split()),
        wrappers=frozenset(wrappers.split()),
        invoked=frozenset(invoked.split()),
        assigned=frozenset(assigned.split()),
        values=frozenset(values.split()),
        types=frozenset(types.split()),
        objects=frozenset(objects.split()),
        leading=frozenset(leading.split()),
        equations=equations,
        forms=forms or {},
    )


_ECMA: dict[str, Any] = {
    "transparent": "if_statement else_clause try_statement catch_clause finally_clause "
    "statement_block parenthesized_expression function_expression arrow_function "
    "unary_expression arguments object return_statement",
    "invoked": "call_expression new_expression",
    "wrappers": "export_statement ambient_declaration lexical_declaration variable_declaration "
    "expression_statement",
    "assigned": "variable_declarator assignment_expression field_definition "
    "public_field_definition pair",
    "values": "arrow_function function_expression generator_function function",
    "types": "class",
    "objects": "object",
    "leading": "decorator",
}
_ECMA_FUNCTIONS = (
    "function_declaration generator_function_declaration method_definition function_signature "
    "method_signature abstract_method_signature"
)
_ECMA_TYPES = (
    "class_declaration abstract_class_declaration interface_declaration enum_declaration "
    "type_alias_declaration"
)
_C_THROUGH = (
    "preproc_if preproc_ifdef preproc_else preproc_elif preproc_elifdef linkage_specification "
    "declaration_list"
)

GRAMMARS: dict[str, Grammar] = {
    "python": _grammar(
        "python",
        "function_definition",
        "class_definition",
        transparent="if_statement elif_clause else_clause try_statement except_clause "
        "except_group_clause finally_clause with_statement for_statement while_statement "
        "match_statement case_clause block",
        wrappers="decorated_definition",
    ),
    "javascript": _grammar("javascript", _ECMA_FUNCTIONS, _ECMA_TYPES, **_ECMA),
    "typescript": _grammar(
        "typescript", _ECMA_FUNCTIONS, _ECMA_TYPES, "internal_module module", **_ECMA
    ),
    "tsx": _grammar("tsx", _ECMA_FUNCTIONS, _ECMA_TYPES, "internal_module module", **_ECMA),
    "java": _grammar(
        "java",
        "method_declaration constructor_declaration compact_constructor_declaration",
        "class_declaration interface_declaration enum_declaration record_declaration "
        "annotation_type_declaration",
        transparent="enum_body_declarations",
    ),
    "go": _grammar("go", "function_declaration method_declaration", "type_declaration"),
    "rust": _grammar(
        "rust",
        "function_item function_signature_item macro_definition",
        "struct_item enum_item union_item trait_item impl_item type_item",
        "mod_item",
        leading="attribute_item",
    ),
    "c": _grammar(
        "c",
        "function_definition",
        "struct_specifier enum_specifier union_specifier type_definition",
        transparent=_C_THROUGH,
    ),
    "cpp": _grammar(
        "cpp",
        "function_definition",
        "class_specifier struct_specifier enum_specifier union_specifier type_definition "
        "alias_declaration concept_definition",
        "namespace_definition",
        transparent=_C_THROUGH,
        wrappers="template_declaration",
    ),
    "csharp": _grammar(
        "csharp",
        "method_declaration constructor_declaration destructor_declaration operator_declaration "
        "local_function_statement",
        "class_declaration interface_declaration struct_declaration record_declaration "
        "enum_declaration delegate_declaration",
        "namespace_declaration",
        transparent="preproc_if preproc_elif preproc_else",
        wrappers="global_statement",
    ),
    "ruby": _grammar(
        "ruby",
        "method singleton_method",
        "class",
        "module",
        transparent="if unless elsif else then begin rescue ensure do_block body_statement "
        "singleton_class",
        wrappers="call argument_list",
    ),
    "php": _grammar(
        "php",
        "function_definition method_declaration",
        "class_declaration interface_declaration trait_declaration enum_declaration",
        transparent="compound_statement if_statement else_clause else_if_clause colon_block "
        "try_statement catch_clause finally_clause namespace_definition",
    ),
    "kotlin": _grammar(
        "kotlin",
        "function_declaration secondary_constructor",
        "class_declaration object_declaration companion_object type_alias",
    ),
    "scala": _grammar(
        "scala",
        "function_definition function_declaration",
        "class_definition trait_definition enum_definition type_definition object_definition "
        "extension_definition given_definition package_object",
        transparent="package_clause template_body",
    ),
    "swift": _grammar(
        "swift",
        "function_declaration init_declaration deinit_declaration subscript_declaration "
        "protocol_function_declaration",
        "class_declaration protocol_declaration typealias_declaration",
    ),
    "lua": _grammar(
        "lua", "function_declaration", assigned="assignment_statement",
        wrappers="variable_declaration", values="function_definition",
        transparent="if_statement elseif_statement else_statement do_statement for_statement "
        "while_statement block",
    ),
    "haskell": _grammar(
        "haskell",
        "function bind",
        "data_type newtype type_synomym class instance",
        transparent="declarations",
        leading="signature haddock pragma",
        equations=True,
    ),
    "elixir": _grammar(
        "elixir",
        transparent="do_block else_block",
        leading="unary_operator",
        equations=True,
        forms={
            "defmodule": "module", "defprotocol": "module", "defimpl": "module",
            "def": "function", "defp": "function", "defmacro": "function",
            "defmacrop": "function", "defguard": "function", "defdelegate": "function",
            "test": "function", "describe": "class", "if": "", "unless": "", "for": "",
        },
    ),
    "bash": _grammar(
        "bash",
        "function_definition",
        transparent="if_statement elif_clause else_clause case_statement case_item list "
        "compound_statement",
    ),
    "sql": _grammar(
        "sql",
        "create_function create_procedure create_trigger",
        other=dict.fromkeys(
            ["create_table", "create_view", "create_materialized_view", "create_type"], "table"
        ),
        wrappers="statement",
    ),
    "css": _grammar(
        "css", other={"rule_set": "rule", "media_statement": "rule", "keyframes_statement": "rule"}
    ),
    "yaml": _grammar(
        "yaml",
        other={"block_mapping_pair": "key"},
        transparent="document block_node block_mapping",
    ),
    "toml": _grammar("toml", other={"table": "key", "table_array_element": "key"}),
    "r": _grammar(
        "r", assigned="binary_operator", values="function_definition",
        transparent="if_statement braced_expression",
    ),
    "julia": _grammar(
        "julia", "function_definition macro_definition", "struct_definition abstract_definition",
        "module_definition", leading="string_literal",
        transparent="if_statement elseif_clause else_clause compound_statement block",
        wrappers="macrocall_expression macro_argument_list",
    ),
    "perl": _grammar(
        "perl", "subroutine_declaration_statement method_declaration_statement", "class_statement",
        transparent="phaser_statement conditional_statement elsif else block block_statement "
        "package_statement",
    ),
    "dart": _grammar(
        "dart",
        "function_signature method_signature",
        "class_definition mixin_declaration enum_declaration extension_declaration",
        leading="annotation",
    ),
    "zig": _grammar(
        "zig", "FnProto TestDecl", wrappers="Decl", assigned="VarDecl", types="ContainerDecl",
        leading="doc_comment",
    ),
    "ocaml": _grammar(
        "ocaml", "value_definition method_definition", "type_definition class_definition",
        "module_definition",
    ),
    "erlang": _grammar("erlang", "fun_decl", "record_decl", leading="spec", equations=True),
    "clojure": _grammar(
        "clojure",
        transparent="read_cond_lit",
        forms={
            "defn": "function", "defn-": "function", "defmacro": "function",
            "defmulti": "function", "defmethod": "function", "deftest": "function",
            "defprotocol": "class", "defrecord": "class", "deftype": "class",
            "do": "", "when": "", "when-not": "",
        },
    ),
    "powershell": _grammar(
        "powershell", "function_statement class_method_definition", "class_statement",
        transparent="statement_list if_statement elseif_clauses elseif_clause else_clause "
        "try_statement catch_clauses catch_clause finally_clause statement_block",
    ),
    "solidity": _grammar(
        "solidity",
        "function_definition modifier_definition constructor_definition",
        "contract_declaration interface_declaration library_declaration struct_declaration",
    ),
    "protobuf": _grammar("proto", "", "message service enum"),
    "terraform": _grammar("hcl", other={"block": "key"}, transparent="body"),
    "make": _grammar(
        "make", other={"rule": "rule"}, transparent="conditional else_directive elsif_directive"
    ),
    "cmake": _grammar(
        "cmake", "function_def macro_def", transparent="if_condition foreach_loop body"
    ),
    "fortran": _grammar(
        "fortran", "subroutine function", "derived_type_definition", "module",
        transparent="internal_procedures program preproc_if preproc_ifdef preproc_elif "
        "preproc_else",
    ),
    "vim": _grammar(
        "vim", "function_definition",
        transparent="if_statement elseif_statement else_statement body",
    ),
    "matlab": _grammar(
        "matlab", "function_definition", "class_definition", transparent="methods"
    ),
    "nim": _grammar(
        "nim",
        "proc_declaration func_declaration method_declaration iterator_declaration "
        "template_declaration macro_declaration",
        "type_section",
        transparent="when if elif_branch else_branch statement_list",
    ),
    "emacs-lisp": _grammar(
        "elisp", "function_definition macro_definition", transparent="list"
    ),
    "gdscript": _grammar("gdscript", "function_definition", "class_definition"),
}  # fmt: skip
