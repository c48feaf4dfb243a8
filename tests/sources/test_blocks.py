"""Definitions inside conditions, attempts and other blocks are units as those outside are."""

from __future__ import annotations

import ast
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from mbert_retrieval.sources.line_spans import MAX_CHARACTERS, MAX_LINES
from mbert_retrieval.sources.split import split_into_passages

MODULES = "functools hashlib locale os random shutil socket ssl subprocess tempfile threading uuid"
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def in_blocks(node: ast.AST, inside: bool = False) -> Iterator[ast.FunctionDef]:
    """The functions of a module that stand in its blocks, as Python itself parses them."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, DEFINITIONS):
            if inside and not isinstance(child, ast.ClassDef):
                yield child
        elif isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case)):
            yield from in_blocks(child, True)


def test_functions_in_blocks_of_real_modules_are_units():
    found = 0
    for name in MODULES.split():
        file = Path(os.__file__).with_name(f"{name}.py")
        text = file.read_text()
        functions = list(in_blocks(ast.parse(text)))
        lines = text.split("\n")
        units = list(split_into_passages(text, file.name))
        for function in functions:
            start = min([function.lineno, *(d.lineno for d in function.decorator_list)])
            body = "\n".join(lines[start - 1 : function.end_lineno])
            if body.count("\n") >= MAX_LINES or len(body) > MAX_CHARACTERS:
                continue
            if function.lineno == function.end_lineno:
                continue  # it may share its line
            names = [p.metadata["name"] for p in units if body in p.text]
            assert names == [function.name], (name, function.name)
            found += 1
    assert found > 20


def test_the_line_that_opens_a_block_stays_with_the_first_definition_in_it():
    text = """\
import os

def before():
    pass

if os.name == "nt":
    # Why.
    def alpha():
        pass
else:
    def alpha():
        return 1

try:
    import fast
except ImportError:
    class Slow:
        pass

with lock:
    x = 1
    def last():
        pass
    y = 1
"""
    found = [
        (p.start_line, p.end_line, p.metadata["name"]) for p in split_into_passages(text, "m.py")
    ]
    assert found == [
        (1, 1, ""),
        (3, 4, "before"),
        (6, 9, "alpha"),
        (10, 12, "alpha"),
        (14, 16, ""),
        (17, 18, "Slow"),
        (20, 21, ""),
        (22, 23, "last"),
        (24, 24, ""),
    ]


CASES = {
    "a.js": """
        if (old) {
          function alpha() { return 1; }
        } else {
          const beta = () => 1;
        }
        try {
          function gamma() { return 1; }
        } catch (e) {
          function delta() { return 1; }
        }
        (function ($) {
          'use strict';
          function epsilon() { return 1; }
        })(jQuery);
        !function () {
          function zeta() { return 1; }
        }();
        """,
    "a.ts": """
        declare global {
          interface alpha { a: number }
        }
        if (x) {
          function beta() { return 1; }
        }
        export namespace gamma { }
        export default class delta { }
        """,
    "a.c": """
        #ifndef A_H
        int alpha(void) { return 1; }
        #elifdef B
        int beta(void) { return 1; }
        #else
        int gamma(void) { return 1; }
        #endif
        """,
    "a.cpp": """
        extern "C" {
        #if A
        int alpha(void) { return 1; }
        #elif B
        int beta(void) { return 1; }
        #endif
        }
        namespace gamma { struct S { int x; }; }
        """,
    "a.cs": """
        namespace N;
        #if A
        class alpha { }
        #elif B
        class beta { }
        #else
        class gamma { }
        #endif
        int delta() { return 1; }
        """,
    "a.rb": """
        if old
          def alpha
            1
          end
        else
          def beta
            1
          end
        end
        begin
          require 'x'
        rescue LoadError
          def gamma
            1
          end
        end
        private def delta
          1
        end
        class << self
          def epsilon
            1
          end
        end
        included do
          def zeta
            1
          end
        end
        """,
    "a.php": """
        <?php
        namespace N {
        if (!function_exists('alpha')) {
          function alpha() { return 1; }
        } else {
          class beta { }
        }
        if (A):
          function gamma() { return 1; }
        endif;
        }
        """,
    "a.scala": """
        package p {
          class alpha { def f = 1 }
          class beta { def f = 1 }
        }
        """,
    "a.lua": """
        if x then
          function alpha() return 1 end
        elseif y then
          local function beta() return 1 end
        else
          gamma = function() return 1 end
        end
        do
          local function delta() return 1 end
        end
        """,
    "a.ex": """
        if Code.ensure_loaded?(X) do
          defmodule alpha do
            def f(x), do: 1
          end
        else
          defmodule beta do
            def f(x), do: 1
          end
        end
        """,
    "a.sh": """
        if [ -n "$x" ]; then
          alpha() { echo 1; }
        else
          beta() { echo 1; }
        fi
        case $x in
          a) gamma() { echo 1; } ;;
        esac
        """,
    "a.r": """
        if (x) {
          alpha <- function(a) 1
        } else {
          beta <- function(a) 1
        }
        """,
    "a.jl": """
        if x
          function alpha(a)
            1
          end
        end
        @static if y
          function beta(a)
            1
          end
        end
        @inline function gamma(a)
          1
        end
        """,
    "a.pl": """
        BEGIN {
          sub alpha { return 1; }
        }
        if (x) {
          sub beta { return 1; }
        }
        package P {
          sub gamma { return 1; }
        }
        """,
    "a.ps1": """
        if ($x) {
          function alpha { 1 }
        } else {
          function beta { 1 }
        }
        """,
    "a.vim": """
        if has('x')
          function! alpha()
            return 1
          endfunction
        else
          function! beta()
            return 1
          endfunction
        endif
        """,
    "a.cmake": """
        if(WIN32)
          function(alpha x)
            set(x 1)
          endfunction()
        else()
          macro(beta x)
            set(x 1)
          endmacro()
        endif()
        """,
    "a.nim": """
        when defined(x):
          proc alpha(): int =
            1
        else:
          proc beta(): int =
            2
        """,
    "a.clj": """
        (when x
          (defn alpha [a] 1))
        #?(:clj
           (defn beta [a] 1))
        """,
    "a.el": """
        (eval-when-compile
          (defun alpha (a) 1))
        (when x
          (defun beta (a) 1))
        """,
    "a.f90": """
        #ifdef X
        subroutine alpha(x)
          x = 1
        end subroutine
        #else
        subroutine beta(x)
          x = 1
        end subroutine
        #endif
        program p
        contains
          subroutine gamma(x)
            x = 1
          end subroutine
        end program
        """,
}


@pytest.mark.parametrize("name", CASES)
def test_definitions_in_blocks_of_every_language_are_units(name):
    text = textwrap.dedent(CASES[name]).strip()
    greek = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
    expected = [word for word in greek if word in text]
    passages = list(split_into_passages(text, name))
    found = {p.metadata["name"].rpartition(".")[2]: p.text for p in passages}
    for word in expected:
        assert word in found[word]
        assert not any(other in found[word] for other in expected if other != word)


@pytest.mark.parametrize(
    ("name", "opening", "held", "owner"),
    [
        ("a.js", "const api = {", "alpha(x) {\n1;\n},\nbeta: function () {\n2;\n},", "api."),
        ("a.js", "exports.x = {", "alpha: (x) => {\n1;\n},\nbeta() {\n2;\n},", "exports.x."),
        ("a.ts", "const api = Object.freeze({", "alpha() {\n1;\n},\nbeta() {\n2;\n},", "api."),
        ("a.ts", "const api = class {", "alpha() {\n1;\n}\nbeta() {\n2;\n}", "api."),
        ("a.js", "export default {", "alpha() {\n1;\n},\nbeta() {\n2;\n},", ""),
        ("a.js", "$.fn.extend({", "alpha() {\n1;\n},\nbeta() {\n2;\n},", ""),
        ("a.js", "new Vue({", "methods: {\nalpha() {\n1;\n},\nbeta() {\n2;\n},\n},", "methods."),
        ("a.zig", "const api = struct {", "fn alpha() void {\n}\npub fn beta() void {\n}", "api."),
    ],
)  # fmt: skip
def test_functions_of_objects_are_units_like_those_of_classes(name, opening, held, owner):
    more = "\n" + "\n".join(f"// line {n}" for n in range(25))
    held = held.replace("methods: {", "methods: {" + more)
    closing = "".join({"{": "}", "(": ")"}.get(one, "") for one in reversed(opening)) + ";"
    text = f"{opening}\n{held}{more}\n{closing}\n"
    found = {p.metadata["name"]: p.text for p in split_into_passages(text, name)}
    for word, other in (("alpha", "beta"), ("beta", "alpha")):
        assert word in found[owner + word]
        assert other not in found[owner + word]


def test_calls_and_data_are_not_cut_for_what_they_hold():
    """A test's body is one with the test, however many small functions it has."""
    text = "describe('x', () => {\n  const a = () => 1;\n  it('y', () => { a(); });\n});\n"
    assert [p.text for p in split_into_passages(text, "a.js")] == [text.rstrip("\n")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "\n".join(" " * n + "if x:" for n in range(3000))),
        ("a.js", "a = " * 30_000 + "1"),
        ("a.js", "if (x) {\n" * 3000 + "}\n" * 3000),
        ("a.js", "(function () {\n" * 3000 + "})();\n" * 3000),
        ("a.js", "a = " + "{a:\n" * 10_000 + "1" + "}" * 10_000),
        ("a.js", "f({a:\n" * 3000 + "1" + "})" * 3000),
        ("a.rb", "f(" * 10_000 + ")" * 10_000),
        ("a.rb", "if x\n" * 3000 + "end\n" * 3000),
        ("a.el", "(" * 20_000 + ")" * 20_000),
        ("a.clj", "(do\n" * 5000 + ")" * 5000),
        ("a.c", "#if X\n" * 3000 + "#endif\n" * 3000),
        ("a.cpp", "namespace n {\n" * 3000 + "}\n" * 3000),
        ("a.java", "class A {\n" * 3000 + "}\n" * 3000),
        ("a.ex", "if x do\n" * 3000 + "end\n" * 3000),
    ],
)
def test_deep_nesting_is_read(name, text):
    lines = text.split("\n")
    covered = [0] * len(lines)
    for passage in split_into_passages(text, name):
        for line in range(passage.start_line - 1, passage.end_line):
            covered[line] += 1
    assert covered == [1 if line.strip() else 0 for line in lines]
