"""Single patterns of a `.gitignore`, with `git check-ignore` as the oracle."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbert_retrieval.sources.wildmatch import parse_rule

WORDS = """a b ab abc a.c b.log ^ a/b a/b/c a/x/b a/x/y/b ab/b ax/b ax/y/b axb x/a x/ab x/y/a.c
_x 9x X9 x! a]b a-b [a] é"""
PATHS = [*WORDS.split(), "a b", "a ", "\tx", "a\\", "a\\ "]
GLOBS = r"""a /a a/b a/**/b a/** **/b **/a.c a**/b a**b ab** x**/y/a.c **b ** * ?/? a?b a/?/b
[ab] [!a]b a[!x]b /a[!x]b /a[/]b /a[.-0]b
a[^-]b a[]]b a[a-]b [a-c]b [c-a]b [[:alpha:]] [[:digit:]]* [[:upper:]]*

a*b* *a*b *a*b*c **/a*/**/*b a/**/*x*/**/b *[a-b]?*c
[[:punct:]]* [[:space:]]* [[:blank:]]x [[:alnum:]!]x [[:xdigit:]]x [[:lower:]]* [[:no:]]b \a
\[a] a\-b *.c *.[cl]* [^ \^ é x/* x/** */b"""
PATTERNS = [*GLOBS.split(), "a ", "a\\ ", "a\\\\ ", "a b", "a\\ b"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    if shutil.which("git") is None:
        pytest.skip("git is the oracle")
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_what_git_matches(repository, pattern):
    (repository / ".gitignore").write_text(pattern + "\n")
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "-z", "--stdin", "--verbose", "--non-matching"],
        cwd=repository,
        input="\0".join(PATHS),
        capture_output=True,
        text=True,
        env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
    )
    fields = done.stdout.split("\0")
    ignored = {path for rule, path in zip(fields[2::4], fields[3::4], strict=False) if rule}
    rule = parse_rule(pattern)

    def matches(path: str) -> bool:  # git ignores also what is in an ignored folder
        parts = path.split("/")
        folders = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        return rule.matches(path, False) or any(rule.matches(folder, True) for folder in folders)

    assert {path for path in PATHS if rule is not None and matches(path)} == ignored
    assert len(fields) == 4 * len(PATHS) + 1


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
def test_stars_match_as_the_standard_library_s(pattern, name):
    rule = parse_rule(pattern)
    one_star = re.sub(r"\*+", "*", pattern)
    assert (rule is not None and rule.matches(name, False)) == (
        pattern != "" and fnmatch.fnmatchcase(name, one_star)
    )


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 30 + "b", "a" * 255),
        ("**/a/" * 30 + "b", "a/" * 1000 + "c"),
        ("*a*/" * 30 + "x", "/".join(["a" * 99] * 31)),
        ("**/*a*a*a*b/" * 10 + "**/q", "/".join(["a" * 100] * 40)),
        ("[a-z]*[a-z]*[a-z]*[a-z]*[a-z]*[a-z]*1", "a" * 255),
    ],
)
def test_no_pattern_takes_long(pattern, path):
    started = time.process_time()
    assert not parse_rule(pattern).matches(path, False)
    assert time.process_time() - started < 0.5


def test_a_rule_for_folders_does_not_apply_to_files():
    rule = parse_rule("build/")
    assert rule.matches("a/build", True)
    assert not rule.matches("a/build", False)


@pytest.mark.parametrize("line", ["", "# comment", "   ", "!", "/", "[a", "a\\", "\r"])
def test_a_line_without_a_rule(line):
    assert parse_rule(line) is None
