"""The needle benchmark: its documents, its count, and the shipped encoder at 4,096 tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mbert_retrieval import load_encoder
from mbert_retrieval.packed import Packed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def needle(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.quality import needle

    return needle


def test_each_document_holds_its_own_fact_and_the_length_asked_for(needle):
    encoder = load_encoder("nano", document_length=1024)
    haystacks = needle.build(encoder, 1024)
    assert len(haystacks.documents) == len(set(haystacks.questions)) == 100
    whole = load_encoder("nano", document_length=8192)
    lengths = whole.token_ids(haystacks.documents, whole.document)[0].lengths
    assert lengths.max() <= 1024  # nothing is cut off, the fact least of all
    assert lengths.min() >= 900
    known = set(needle.paragraphs())
    for document, depth, length in zip(haystacks.documents, haystacks.depths, lengths, strict=True):
        (fact,) = set(document.split("\n\n")) - known
        before = whole.token_ids([document[: document.index(fact)]], whole.document)[0]
        assert depth == pytest.approx(before.lengths[0] / length, abs=0.05)
    assert min(haystacks.depths) < 0.1
    assert max(haystacks.depths) > 0.9


def test_found_first_is_the_share_of_highest_maxsim(needle):
    class Words:
        """An encoder of one-hot words."""

        def encode_queries(self, texts):
            return Packed.from_sequences(
                [np.eye(50, dtype=np.float32)[[int(w) for w in t.split()]] for t in texts]
            )

        encode_documents = encode_queries

    haystacks = needle.Haystacks(["1 2 3", "4 5 6", "1 4 7"], ["1 2", "4 6", "2 5"], [0, 0, 0])
    assert needle.found_first(Words(), haystacks).tolist() == [True, True, False]


@pytest.mark.slow
def test_nano_finds_facts_in_long_documents(needle):
    encoder = load_encoder("nano", document_length=4096)
    assert needle.found_first(encoder, needle.build(encoder, 4096)).mean() >= 0.8
