"""Rules for text files that are not worth indexing: generated, minified, or translations."""

from __future__ import annotations

import re

LOCK_FILES = re.compile(
    r"(?:package-lock|npm-shrinkwrap|packages\.lock)\.json|pnpm-lock\.yaml|go\.sum"
    r"|(?:yarn|bun|composer|cargo|poetry|uv|pdm|pipfile|gemfile|flake|mix|pubspec|podfile)\.lock"
)
TRANSLATIONS = "translations"
TRANSLATION_SUFFIXES = (".po", ".pot", ".xlf", ".xliff")
MINIFIABLE = frozenset({"javascript", "typescript", "css", "json", "xml"})
MINIFIED_LINE = 400  # characters per line on average; lines written by hand are shorter
MINIFIED_FILE = 2_000  # characters; a smaller file is read in any case
GENERATED_MARK_WITHIN = 1_000  # characters from the beginning

_GENERATED = re.compile(
    r"@generated\b|\bcode generated\b.{0,80}\bdo not edit\b"
    r"|\b(?:auto(?:matically)?[ -]?generated|generated (?:by|from|automatically))\b.{0,120}"
    r"\b(?:do not|don't) (?:edit|modify|change)",
    re.IGNORECASE | re.DOTALL,
)


def skip_reason(text: str, name: str, language: str) -> str:
    """Return why a file of this name is not worth indexing, or "" if it is."""
    if name.lower().endswith(TRANSLATION_SUFFIXES):
        return TRANSLATIONS
    if LOCK_FILES.fullmatch(name.lower()):
        return "generated (a lock file)"
    if _GENERATED.search(text[:GENERATED_MARK_WITHIN]):
        return "generated"
    dense = ".min." in name or len(text) > MINIFIED_LINE * (text.count("\n") + 1)
    if language in MINIFIABLE and len(text) > MINIFIED_FILE and dense:
        return "minified"
    return ""
