"""Print an explanation for people: a few lines under a hit."""

from __future__ import annotations

from ..search.explain import Explanation
from .console import visible
from .styled import Row
from .terminal import CLEAR, style_of

MARGIN = " " * 10


def explanation_lines(explanation: Explanation) -> list[Row]:
    """Return lines: contributions of the legs, best matches of the query's tokens, BM25 terms."""
    legs = Row(MARGIN)
    for number, leg in enumerate(explanation.legs):
        legs.append("  ·  " if number else "", "dim")
        legs.append(leg.leg, "bold")
        rank = f" #{leg.rank}" if leg.rank else " not ranked"
        rank = "" if leg.leg == "definition" else rank
        score = "" if leg.score is None else f" {leg.score:.4g}"
        legs.append(f"{rank}{score} (+{leg.share:.4g})", "dim")
    lines = [legs]
    matched = Row(MARGIN)
    for token in explanation.tokens:
        if token.query_start is None:
            continue
        matched.append("  " if len(matched.text) > len(MARGIN) else "")
        matched.append(visible(token.query), "cyan")
        matched.append("→", "dim")
        where = f":{token.line}" if token.line else " (title)" if token.part == "title" else ""
        target = visible(token.text) + where
        matched.append(target, style_of(token.score) if token.score >= CLEAR else "")
        matched.append(f" {token.score:.2f}", "dim")
    if len(matched.text) > len(MARGIN):
        lines.append(matched)
    words = Row(MARGIN)
    for word in explanation.words:
        words.append("  " if len(words.text) > len(MARGIN) else "BM25 ", "dim")
        words.append(visible(word.word), "cyan")
        words.append(f" {word.score:.2f}", "dim")
    if explanation.words:
        lines.append(words)
    for line in lines:
        line.styles.insert(0, (0, len(line.text), "dim"))
    return lines
