"""Prose is split at headings, and long sections into passages that overlap."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval.sources.prose import MAX_WORDS, OVERLAP_WORDS
from mbert_retrieval.sources.split import split_into_passages


def test_prose_is_split_at_headings_and_paragraphs():
    long = "\n\n".join(f"paragraph {n} " + "word " * 60 for n in range(6))
    install = "# Install\n\nrun\n\n```sh\n# no heading\n```"
    text = f"intro\n\n{install}\n\n## Linux\n\n{long}\n\nSet\n===\nend"
    passages = list(split_into_passages(text, "README.md"))
    headings = [passage.metadata["name"] for passage in passages]
    assert headings == ["", "Install", *["Install > Linux"] * 2, "Set"]
    assert "# no heading" in passages[1].text
    assert all(len(passage.text.split()) <= MAX_WORDS for passage in passages)
    assert passages[2].title == "Install > Linux"


def test_restructured_text_headings_nest_by_order_of_appearance():
    text = "Top\n***\n\none\n\nSub\n~~~\n\ntwo\n\nNext\n****\n\nthree\n"
    names_of = [passage.metadata["name"] for passage in split_into_passages(text, "a.rst")]
    assert names_of == ["Top", "Top > Sub", "Next"]


@given(st.integers(1, 1500))
@settings(max_examples=60, deadline=None)
def test_a_line_of_many_words_is_split_into_pieces_that_overlap(count):
    words = [f"w{n}" for n in range(count)]
    pieces = [p.text.split() for p in split_into_passages(" ".join(words), "a.txt")]
    assert pieces[0][0] == "w0"
    assert pieces[-1][-1] == words[-1]
    if count <= 2 * MAX_WORDS:
        assert pieces == [words]
        return
    assert all(len(piece) <= MAX_WORDS for piece in pieces)
    for before, after in pairwise(pieces):
        assert before[-OVERLAP_WORDS:] == after[:OVERLAP_WORDS]
    assert len({p.id for p in split_into_passages(" ".join(words), "a.txt")}) == len(pieces)


@given(st.lists(st.integers(0, 90), min_size=1, max_size=40))
@settings(max_examples=80, deadline=None)
def test_passages_of_prose_are_full_and_repeat_little(counts):
    """counts: of words a line; 0 is a blank line."""
    lines = [" ".join(f"l{n}w{m}" for m in range(count)) for n, count in enumerate(counts)]
    pieces = list(split_into_passages("\n".join(lines), "a.txt"))
    for before, after in pairwise(pieces):
        repeated = lines[after.start_line - 1 : before.end_line]
        assert before.start_line < after.start_line
        assert before.end_line < after.end_line
        assert len(" ".join(repeated).split()) <= OVERLAP_WORDS
        together = lines[before.start_line - 1 : after.end_line]
        assert len(" ".join(together).split()) > MAX_WORDS
    assert all(len(p.text.split()) <= MAX_WORDS for p in pieces)
    read = {word for p in pieces for word in p.text.split()}
    assert read == set(" ".join(lines).split())
