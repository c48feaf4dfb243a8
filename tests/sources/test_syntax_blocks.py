"""Definitions in conditions, `try` and other blocks are passages like those outside."""

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


DEFINITION_NODES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def in_blocks(node: ast.AST, inside: bool = False) -> Iterator[ast.FunctionDef]:
    """The functions of a module that stand in its blocks, as Python itself parses them."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, DEFINITION_NODES):
            if inside and not isinstance(child, ast.ClassDef):
                yield child
        elif isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case)):
            yield from in_blocks(child, True)


def test_functions_in_blocks_of_real_modules_are_passages():
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


EXAMPLES = {
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


@pytest.mark.parametrize("name", EXAMPLES)
def test_definitions_in_blocks_of_every_language_are_passages(name):
    text = textwrap.dedent(EXAMPLES[name]).strip()
    greek = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
    expected = [word for word in greek if word in text]
    passages = list(split_into_passages(text, name))
    found = {p.metadata["name"].rpartition(".")[2]: p.text for p in passages}
    for word in expected:
        assert word in found[word]
        assert not any(other in found[word] for other in expected if other != word)
