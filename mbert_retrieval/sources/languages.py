"""Which language a file is in, by its name."""

from __future__ import annotations

import re
from pathlib import PurePath

PROSE = frozenset({"markdown", "restructuredtext", "text", "asciidoc", "org", "tex"})

_SUFFIXES = {
    "asciidoc": "adoc asciidoc",
    "bash": "sh bash zsh ksh bats",
    "c": "c h",
    "clojure": "clj cljs cljc edn",
    "cmake": "cmake",
    "cpp": "cc cpp cxx c++ hh hpp hxx h++ ipp inl cu cuh",
    "csharp": "cs",
    "css": "css scss sass less",
    "csv": "csv tsv",
    "cython": "pyx pxd pxi",
    "dart": "dart",
    "elixir": "ex exs",
    "emacs-lisp": "el",
    "erlang": "erl hrl",
    "fortran": "f f90 f95 f03 for",
    "fsharp": "fs fsi fsx",
    "gdscript": "gd",
    "go": "go",
    "graphql": "graphql gql",
    "groovy": "groovy gradle",
    "haskell": "hs lhs",
    "html": "html htm xhtml vue svelte astro jinja j2",
    "ini": "ini cfg conf properties",
    "java": "java",
    "javascript": "js jsx mjs cjs",
    "json": "json jsonl ndjson json5 jsonc ipynb geojson",
    "julia": "jl",
    "kotlin": "kt kts",
    "lisp": "lisp scm rkt ss",
    "lua": "lua",
    "make": "mk make",
    "markdown": "md markdown mdx rmd qmd",
    "matlab": "m",
    "nim": "nim",
    "nix": "nix",
    "ocaml": "ml mli",
    "org": "org",
    "pascal": "pas pp dpr",
    "perl": "pl pm t",
    "php": "php phtml",
    "powershell": "ps1 psm1 psd1",
    "protobuf": "proto",
    "python": "py pyi pyw",
    "r": "r",
    "restructuredtext": "rst rest",
    "ruby": "rb rake gemspec ru",
    "rust": "rs",
    "scala": "scala sc sbt",
    "solidity": "sol",
    "sql": "sql ddl dml",
    "swift": "swift",
    "terraform": "tf tfvars hcl",
    "tex": "tex sty cls bib",
    "text": "txt text log",
    "toml": "toml",
    "tsx": "tsx",
    "typescript": "ts mts cts",
    "verilog": "v sv svh vh",
    "vhdl": "vhd vhdl",
    "vim": "vim",
    "xml": "xml xsd xsl xslt svg plist",
    "yaml": "yaml yml",
    "zig": "zig",
}
_NAMES = {
    "cmakelists.txt": "cmake",
    "dockerfile": "dockerfile",
    "containerfile": "dockerfile",
    "makefile": "make",
    "gnumakefile": "make",
    "gemfile": "ruby",
    "rakefile": "ruby",
    "jenkinsfile": "groovy",
}
_BY_SUFFIX = {
    f".{suffix}": name for name, suffixes in _SUFFIXES.items() for suffix in suffixes.split()
}


_SCRIPT = re.compile(r"#!.*?\b(?P<name>python|bash|zsh|ksh|sh|perl|ruby|node|php|lua|Rscript)")
_INTERPRETERS = {"node": "javascript", "zsh": "bash", "ksh": "bash", "sh": "bash", "Rscript": "r"}


def language_of(path: PurePath, first_line: str = "") -> str:
    """The language's name, by the file's name or by `#!`; "text" where neither tells."""
    named = _NAMES.get(path.name.lower()) or _BY_SUFFIX.get(path.suffix.lower())
    if named is None and (script := _SCRIPT.match(first_line)):
        return _INTERPRETERS.get(script["name"], script["name"])
    return named or "text"
