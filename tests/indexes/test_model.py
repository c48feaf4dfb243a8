"""Any sequence of adds, replacements, deletes, commits and compactions, against a plain dict."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mbert_retrieval import Passage
from mbert_retrieval.indexes import IndexFolder
from mbert_retrieval.indexes.compaction import segments_to_merge
from support.index_model import (
    DENSE_FLAT,
    DENSE_GRAPH,
    DENSE_SMALL,
    LATE_FLAT,
    Model,
    assert_holds,
    packed,
    random_vectors,
)

ids = st.sampled_from(["a", "b", "c", "d", "e", "f", "\x00", "né", "\U0001d518"])


LEGS = [
    (LATE_FLAT,),
    (DENSE_FLAT,),
    (DENSE_GRAPH,),
    (LATE_FLAT, DENSE_SMALL),
    (LATE_FLAT, DENSE_GRAPH),
]


class IndexMachine(RuleBasedStateMachine):
    """`committed` is what readers should see, `pending` what the open writer has made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.committed: Model = {}
        self.pending: Model = {}
        self.counter = 0

    @initialize(legs=st.sampled_from(LEGS))
    def create(self, legs) -> None:
        self.folder = IndexFolder.create(self.home / "index", legs=legs, lexical=True)
        self.writer = self.folder.writer()
        self.other = IndexFolder.open(self.home / "index")

    @rule(chosen=st.sets(ids, max_size=5))
    def add(self, chosen) -> None:
        self.counter += 1
        rng = np.random.default_rng(self.counter)
        vectors = random_vectors(rng, len(chosen))
        passages = [Passage(id, f"everywhere {self.counter} {id}") for id in sorted(chosen)]
        self.writer.add(passages, packed(self.folder.legs, vectors))
        for passage, rows in zip(passages, vectors, strict=True):
            self.pending[passage.id] = (passage, rows)

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def delete(self, data) -> None:
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.pending)), max_size=9))
        self.writer.delete(chosen)
        for id in chosen:
            del self.pending[id]

    @rule()
    def commit(self) -> None:
        before = dict(self.committed)
        self.writer.commit()
        self.committed = dict(self.pending)
        assert_holds(self.folder, self.committed)
        assert_holds(self.other, before)  # held back until it is refreshed
        self.other.refresh()

    @rule(everything=st.booleans())
    def compact(self, everything) -> None:
        before = dict(self.committed)
        self.writer.compact(everything)
        self.committed = dict(self.pending)
        assert_holds(self.folder, self.committed)
        assert_holds(self.other, before)
        self.other.refresh()
        info = self.folder.info()
        if everything:
            assert (info["segments"], info["tombstones"]) == (min(1, len(self.committed)), 0)
        assert 2 ** (info["segments"] - 1) <= max(1, len(self.committed))

    @rule()
    def abandon(self) -> None:
        self.writer.close()
        self.pending = dict(self.committed)
        self.writer = self.folder.writer()

    @rule()
    def reopen(self) -> None:
        self.writer.close()
        self.folder.close()
        self.pending = dict(self.committed)
        self.folder = IndexFolder.open(self.home / "index")
        self.writer = self.folder.writer()

    @invariant()
    def readers_see_what_was_committed(self) -> None:
        if hasattr(self, "folder"):
            assert_holds(self.folder, self.committed)
            assert_holds(self.other, self.committed)

    def teardown(self) -> None:
        if hasattr(self, "writer"):
            self.writer.close()
            self.folder.refresh()
            assert self.folder.verify() == []
            named = {segment.record.folder for segment in self.folder._current.segments}
            assert {f"segments/{f.name}" for f in (self.home / "index/segments").iterdir()} == named
            self.folder.close()
            self.other.close()
        shutil.rmtree(self.home)


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 1000)), max_size=60))
def test_however_many_commits_there_were_few_segments_are_left(sizes):
    live = [passages for passages, _ in sizes]
    plan = segments_to_merge([passages + dead for passages, dead in sizes], live, everything=False)
    replaced = [n for group in plan for n in group]
    assert replaced == sorted(set(replaced))
    kept = {n: [n] for n in range(len(live)) if n not in replaced}
    after = sorted([*kept.values(), *map(list, plan)])
    left = [sum(live[n] for n in group) for group in after]
    assert all(size >= 2 * sum(left[n + 1 :]) for n, size in enumerate(left))
    assert sum(left) == sum(live)
    assert len(left) <= 1 + (sum(live).bit_length() if live else 0)
