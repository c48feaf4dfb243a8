"""Files that are text and yet not worth reading: made by a program for a program, or the texts of
other files in other languages."""

from __future__ import annotations

import re

LOCK_FILES = re.compile(
    r"(?:package-lock|npm-shrinkwrap|packages\.lock)\.json|pnpm-lock\.yaml|go\.sum"
    r"|(?:yarn|bun|composer|cargo|poetry|uv|pdm|pipfile|gemfile|flake|mix|pubspec|podfile)\.lock"
)
TRANSLATED = "translations"
TRANSLATIONS = (".po", ".pot", ".xlf", ".xliff")
MINIFIED = frozenset({"javascript", "typescript", "css", "json", "xml"})
LONG_LINES = 400  # characters of a line, on average, that nobody wrote
SMALL = 2_000  # characters; nothing so small is minified

_GENERATED = re.compile(
    r"@generated\b|\bcode generated\b.{0,80}\bdo not edit\b"
    r"|\b(?:auto(?:matically)?[ -]?generated|generated (?:by|from|automatically))\b.{0,120}"
    r"\b(?:do not|don't) (?:edit|modify|change)",
    re.IGNORECASE | re.DOTALL,
)


def unfit(text: str, name: str, language: str) -> str:
    """Why a file is not worth reading, "" when it is. name: the file's own."""
    if name.lower().endswith(TRANSLATIONS):
        return TRANSLATED
    if LOCK_FILES.fullmatch(name.lower()):
        return "generated (a lock file)"
    if _GENERATED.search(text[:1_000]):
        return "generated"
    dense = ".min." in name or len(text) > LONG_LINES * (text.count("\n") + 1)
    if language in MINIFIED and len(text) > SMALL and dense:
        return "minified"
    return ""
