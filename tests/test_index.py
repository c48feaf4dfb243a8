"""`Index`: building, resuming, searching, against rankings computed here by hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from mbert_retrieval import Index, InputError, Passage
from mbert_retrieval.indexes import IndexFolder
from mbert_retrieval.search.encoders import BATCH, encode_in_step
from support.hash_encoder import WORDS, HashEncoder, make_passages, standard_scores


def state(folder: IndexFolder) -> dict[str, Passage]:
    ids = list(folder.content_hashes())
    return {passage.id: passage for passage in folder.passages(ids)}


def assert_same_scores(one: Index, other: Index) -> None:
    """The same passages found, with the same scores up to rounding (segments change its order)."""
    for mode in ("vector", "lexical"):
        for found, expected in zip(
            one.search_many(WORDS, 1000, mode), other.search_many(WORDS, 1000, mode), strict=True
        ):
            assert expected.ranking
            assert dict(found.ranking) == pytest.approx(dict(expected.ranking), abs=1e-5)


def vector_ranking(
    encoder: HashEncoder, passages: list[Passage], query: str, k: int
) -> list[tuple[str, float]]:
    """MaxSim (for dense vectors the inner product) of all passages, by hand."""
    question = encoder.vectors(query).astype(np.float64)
    scores = [
        (p.id, float((question @ encoder.vectors(p.content).T).max(axis=1).sum())) for p in passages
    ]
    return sorted(scores, key=lambda hit: (-hit[1], hit[0]))[:k]


@pytest.mark.parametrize(
    ("kind", "encoder_kind"), [("flat", "late"), ("flat", "dense"), ("faiss", "dense")]
)
def test_vector_search_is_the_exhaustive_ranking(tmp_path, kind, encoder_kind):
    encoder, passages = HashEncoder(encoder_kind), make_passages(50)
    index = Index.build(tmp_path / "i", passages, encoder, engine=kind)
    for query in ("retry http", "number7 cache", "lock"):
        expected = vector_ranking(encoder, passages, query, 10)
        found = index.search_many([query], 10, "vector")[0].ranking
        assert [id for id, _ in found] == [id for id, _ in expected]
        np.testing.assert_allclose(
            [score for _, score in found], [score for _, score in expected], atol=1e-5
        )


def test_hybrid_is_the_weighted_sum_of_both_legs(tmp_path):
    encoder, passages = HashEncoder(), make_passages(60)
    index = Index.build(tmp_path / "i", passages, encoder)
    query = "retry socket number7"
    legs = {mode: index.search_many([query], 60, mode)[0].ranking for mode in ("vector", "lexical")}
    expected = standard_scores([(0.7, legs["vector"]), (0.3, legs["lexical"])])
    best = sorted(expected.items(), key=lambda hit: (-hit[1], hit[0]))[:5]
    hits = index.search(query, k=5)
    assert [(hit.passage.id, pytest.approx(hit.score)) for hit in hits] == best
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    by_id = {passage.id: passage for passage in passages}
    for hit in hits:
        passage = by_id[hit.passage.id]
        assert (hit.passage.text, hit.passage.title, hit.passage.metadata) == (
            passage.text,
            passage.title,
            passage.metadata,
        )


def test_two_encoders_in_one_index_answer_apart_and_together(tmp_path):
    encoders = [HashEncoder("late", chunk=7), HashEncoder("dense", chunk=5)]
    passages = make_passages(60)
    index = Index.build(tmp_path / "i", iter(passages), encoders, engine="flat")
    contents = [passage.content for passage in passages]
    assert [encoder.encoded for encoder in encoders] == [contents, contents]
    query, k = "retry socket number7", 60
    alone = {
        mode: index.search_many([query], k, mode)[0].ranking
        for mode in ("late", "dense", "lexical")
    }
    for encoder in encoders:
        expected = vector_ranking(encoder, passages, query, k)
        assert dict(alone[encoder.kind]) == pytest.approx(dict(expected), abs=1e-5)
    for mode, parts in {
        "vector": {"late": 0.5, "dense": 0.5},
        "hybrid": {"late": 0.35, "dense": 0.35, "lexical": 0.3},
    }.items():
        fused = standard_scores([(weight, alone[part]) for part, weight in parts.items()])
        assert dict(index.search_many([query], k, mode)[0].ranking) == pytest.approx(dict(fused))
    index.delete(["doc 7"])
    for mode in ("late", "dense", "lexical", "vector", "hybrid"):
        assert "doc 7" not in dict(index.search_many([query], k, mode)[0].ranking)


@pytest.mark.parametrize("chunks", [(1, 4), (4, 1), (3, 7), (5, 5)])
def test_documents_go_through_encoders_encode_in_step(chunks):
    encoders = [HashEncoder("late", chunk=chunks[0]), HashEncoder("dense", chunk=chunks[1])]
    passages, ahead = make_passages(20), []

    def counted():
        for n, passage in enumerate(passages):
            ahead.append(n - min(len(encoder.encoded) for encoder in encoders))
            yield passage

    parts = list(encode_in_step(counted(), {encoder.kind: encoder for encoder in encoders}))
    assert [passage for part, _ in parts for passage in part] == passages
    for encoder in encoders:
        rows = [row for _, vectors in parts for row in vectors[encoder.kind]]
        for passage, row in zip(passages, rows, strict=True):
            np.testing.assert_array_equal(row, encoder.vectors(passage.content))
    assert max(ahead) <= sum(chunks)
    assert list(encode_in_step([], {"late": encoders[0]})) == []


def test_changes_leave_few_segments_and_compact_leaves_one(tmp_path):
    encoder, model = HashEncoder(), {}
    index = Index.build(tmp_path / "i", [], encoder)
    for n, passage in enumerate(make_passages(40)):
        index.add([passage])
        model[passage.id] = passage
        if n % 5 == 4:
            index.delete([f"doc {n - 2}"])
            del model[f"doc {n - 2}"]
        info = index.folder.info()
        assert 2 ** (info["segments"] - 1) <= len(model)
        assert info["tombstones"] <= len(model)
    index.compact()
    info = index.folder.info()
    assert (info["segments"], info["tombstones"]) == (1, 0)
    assert state(index.folder) == model
    assert index.folder.verify() == []
    assert_same_scores(index, Index.build(tmp_path / "whole", model.values(), HashEncoder()))


def test_where_restricts_every_mode(tmp_path):
    index = Index.build(tmp_path / "i", make_passages(30), HashEncoder())
    for mode in ("hybrid", "vector", "lexical"):
        hits = index.search("retry http header", k=30, mode=mode, where="group = 2")
        assert hits
        assert {hit.passage.metadata["group"] for hit in hits} == {2}


def test_building_again_encodes_only_what_changed_and_drops_what_went(tmp_path):
    before = make_passages(40)
    Index.build(tmp_path / "i", before, HashEncoder())
    changed = Passage("doc 3", "another text entirely", metadata={"group": 1})
    relabelled = Passage(before[4].id, before[4].text, before[4].title, metadata={"group": 9})
    new = Passage("doc new", "retry", path="a.py", start_line=1, end_line=2)
    after = [before[0], changed, relabelled, *before[10:], new]
    encoder = HashEncoder()
    index = Index.build(tmp_path / "i", iter(after), encoder)
    assert sorted(encoder.encoded) == sorted(p.content for p in (changed, new))
    assert state(index.folder) == {passage.id: passage for passage in after}
    fresh = Index.build(tmp_path / "fresh", after, HashEncoder())
    assert_same_scores(index, fresh)
    assert index.folder.verify() == []


def test_sync_counts_its_changes_and_reports_progress(tmp_path):
    index = Index.build(tmp_path / "i", make_passages(20), HashEncoder())
    seen: list[int] = []
    changes = index.sync(
        [*make_passages(20)[5:], Passage("doc 7b", "x"), Passage("doc 8b", "y")], seen.append
    )
    assert (changes.added, changes.updated, changes.unchanged, changes.deleted) == (2, 0, 15, 5)
    assert seen[-1] == 17
    assert seen == sorted(seen)


def test_delete_refuses_an_id_that_is_no_text(tmp_path):
    index = Index.build(tmp_path / "i", [Passage("a", "text")], None)
    with pytest.raises(InputError, match="id to delete is not valid Unicode"):
        index.delete(["a", "\ud800"])
    assert len(index) == 1


def test_add_keeps_the_others_and_delete_removes(tmp_path):
    index = Index.build(tmp_path / "i", make_passages(10), HashEncoder())
    changes = index.add([Passage("doc 1", "replaced"), Passage("extra", "more")])
    assert (changes.added, changes.updated, changes.deleted) == (1, 1, 0)
    assert len(index.folder) == 11
    assert index.delete(["extra", "doc 1", "extra"]) == 2
    with pytest.raises(InputError, match="no passage has the id 'extra'"):
        index.delete(["doc 2", "extra"])
    assert set(state(index.folder)) == {f"doc {n}" for n in range(10) if n != 1}
    assert "doc 1" not in dict(index.search_many(["replaced"], 20, "hybrid")[0].ranking)


def test_an_id_that_comes_twice_is_named_and_nothing_is_lost(tmp_path):
    passages = make_passages(30)
    index = Index.build(tmp_path / "i", passages, HashEncoder())
    twice = [*passages[:5], Passage("b", "new"), Passage("b", "other")]
    with pytest.raises(InputError, match="two passages have the id 'b'"):
        Index.build(tmp_path / "i", twice, HashEncoder())
    index.folder.refresh()
    assert state(index.folder) == {passage.id: passage for passage in passages}


def test_passages_that_break_at_once_leave_no_folder(tmp_path):
    def broken():
        raise InputError("line 1 is broken")
        yield

    with pytest.raises(InputError, match="line 1"):
        Index.build(tmp_path / "i", broken(), HashEncoder())
    assert not (tmp_path / "i").exists()


def test_an_index_of_another_encoder_or_kind_is_refused_and_stays(tmp_path):
    passages = make_passages(5)
    index = Index.build(tmp_path / "i", passages, HashEncoder("dense"))
    changed = HashEncoder("dense")
    changed.fingerprint = "0" * 64
    cases = [
        ({"encoder": HashEncoder("dense", name="other")}, "made by encoder hash, not other"),
        ({"encoder": changed}, "a different state or other settings of it"),
        ({"encoder": HashEncoder("late")}, r"made by hash \(dense\), not by a late encoder"),
        ({"encoder": [HashEncoder("late"), HashEncoder("dense")]}, "not by a late encoder"),
        ({"encoder": [HashEncoder("dense")] * 2}, "one dense encoder at most"),
        ({"encoder": HashEncoder("dense"), "engine": "flat"}, "as kind faiss, not flat"),
        (
            {"encoder": HashEncoder("dense"), "engine_settings": {"factory": "Flat"}},
            "with automatic settings, not with factory Flat",
        ),
        (
            {"encoder": HashEncoder("dense"), "engine_settings": {"nbits": 4}},
            "setting of kind plaid",
        ),
        ({"encoder": HashEncoder("dense"), "lexical": False}, "with a lexical part"),
        ({"encoder": None}, r"with hash \(dense\), not with no encoder"),
    ]
    for arguments, expected in cases:
        with pytest.raises(InputError, match=expected):
            Index.build(tmp_path / "i", [], **arguments)
    with pytest.raises(InputError, match="made by encoder hash, not other"):
        Index.open(tmp_path / "i", HashEncoder("dense", name="other"))
    index.folder.refresh()
    assert len(index.folder) == 5


def test_an_index_without_vectors_answers_lexically_and_without_torch(tmp_path):
    Index.build(tmp_path / "i", make_passages(5), None)
    script = (
        "import sys; from mbert_retrieval import Index;"
        f"index = Index.open({str(tmp_path / 'i')!r});"
        "assert index.search('number3')[0].passage.id == 'doc 3';"
        "assert index.search('number3', mode='lexical')[0].passage.id == 'doc 3';"
        "assert not {'torch', 'tokenizers', 'faiss'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(InputError, match="no vectors: use mode lexical"):
        Index.open(tmp_path / "i").search("x", mode="vector")


def test_lexical_mode_never_loads_the_encoder(tmp_path):
    Index.build(tmp_path / "i", make_passages(5), HashEncoder(name="gone for ever"))
    index = Index.open(tmp_path / "i")
    assert index.search("number3", mode="lexical")[0].passage.id == "doc 3"
    with pytest.raises(InputError, match="gone for ever"):
        index.search("number3")


def test_an_index_without_a_lexical_part_answers_by_vectors(tmp_path):
    encoder, passages = HashEncoder(), make_passages(9)
    index = Index.build(tmp_path / "i", passages, encoder, lexical=False)
    expected = vector_ranking(encoder, passages, "retry", 3)
    assert [hit.passage.id for hit in index.search("retry", 3)] == [id for id, _ in expected]
    with pytest.raises(InputError, match="no lexical part"):
        index.search("retry", mode="lexical")


def test_a_query_is_encoded_once_however_deep_groups_lie(tmp_path, monkeypatch):
    encoder = HashEncoder()
    passages = [
        Passage(id=f"{n}", text=f"retry number{n}", path=f"{n // 60}.py") for n in range(240)
    ]
    index = Index.build(tmp_path / "i", passages, encoder)
    asked: list[str] = []
    encode = encoder.encode_queries
    monkeypatch.setattr(
        encoder, "encode_queries", lambda texts: asked.extend(texts) or encode(texts)
    )
    hits = index.search("retry number7", 4, group=True)
    assert sorted(hit.passage.path for hit in hits) == ["0.py", "1.py", "2.py", "3.py"]
    assert hits[0].passage.id == "7"
    assert asked == ["retry number7"]


def test_an_encoder_folder_is_recorded_by_its_whole_path(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)
    Index.build("i", make_passages(2), HashEncoder(name="weights"))
    assert IndexFolder.open("i").legs["late"].encoder.name == str(tmp_path / "weights")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"text": " \n"}, "query is empty"),
        ({"text": "x", "k": 0}, "k must be at least 1"),
        ({"text": "x", "k": -2, "group": True}, "k must be at least 1, it is -2"),
        ({"text": "x", "mode": "magic"}, "unknown mode 'magic'"),
    ],
)
def test_bad_searches_say_what_is_wrong(tmp_path, arguments, expected):
    index = Index.build(tmp_path / "i", make_passages(2), HashEncoder())
    with pytest.raises(InputError, match=expected):
        index.search(**arguments)


def test_metadata_that_is_no_json_is_refused(tmp_path):
    with pytest.raises(InputError, match="JSON"):
        Index.build(tmp_path / "i", [Passage("a", "x", metadata={"k": {1, 2}})], HashEncoder())


def test_an_interrupt_keeps_what_is_done(tmp_path):
    passages = make_passages(40)

    def interrupted(done: int) -> None:
        if done >= 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index.build(tmp_path / "i", passages, HashEncoder(), progress=interrupted)
    encoder = HashEncoder()
    index = Index.open(tmp_path / "i", encoder)
    assert set(state(index.folder)) == {f"doc {n}" for n in range(14)}
    index.sync(passages)
    assert encoder.encoded == [passage.content for passage in passages[14:]]


KILLED = """
    import sys, time
    sys.path.insert(0, {tests!r})
    from mbert_retrieval import Index
    from mbert_retrieval.sync import passages as writing
    from support.hash_encoder import HashEncoder, make_passages

    writing.COMMIT_SECONDS = 0.0

    class Slow(HashEncoder):
        def _documents(self, texts):
            time.sleep(0.02)
            return super()._documents(texts)

    Index.build({path!r}, make_passages(400), Slow(), progress=lambda n: print(n, flush=True))
"""


@pytest.mark.parametrize("kill_after", [7, 63, 210])
def test_a_killed_build_resumes_and_equals_an_uninterrupted_one(tmp_path, kill_after):
    path = tmp_path / "i"
    script = textwrap.dedent(KILLED).format(tests=str(Path(__file__).parent), path=str(path))
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= kill_after:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    assert process.returncode == -signal.SIGKILL
    passages = make_passages(400)
    kept = Index.open(path)
    assert kept.folder.verify() == []
    assert kill_after <= len(kept.folder) < 400
    assert state(kept.folder) == {p.id: p for p in passages[: len(kept.folder)]}

    encoder = HashEncoder()
    resumed = Index.build(path, passages, encoder)
    assert len(encoder.encoded) == 400 - len(kept.folder)
    whole = Index.build(tmp_path / "whole", passages, HashEncoder())
    assert state(resumed.folder) == state(whole.folder)
    assert_same_scores(resumed, whole)
    assert resumed.folder.verify() == []


def test_passages_are_pulled_as_they_are_encoded(tmp_path):
    """Memory stays flat: no more passages are held than one batch and one chunk."""
    encoder, ahead = HashEncoder(), []

    def counted():
        for n, passage in enumerate(make_passages(5000)):
            ahead.append(n - len(encoder.encoded))
            yield passage

    Index.build(tmp_path / "i", counted(), encoder, lexical=False)
    assert len(encoder.encoded) == 5000
    assert max(ahead) <= BATCH + encoder.chunk


class FewVectors(HashEncoder):
    """Loses the last document of a stream."""

    def stream_documents(self, texts):
        return super().stream_documents(list(texts)[:-1])


@pytest.mark.parametrize("count", [1, 3])
def test_an_encoder_that_loses_texts_is_refused(tmp_path, count):
    with pytest.raises(InputError, match="the late encoder returned vectors for too few texts"):
        Index.build(tmp_path / "i", make_passages(count), FewVectors())


@pytest.mark.parametrize("chunk", [None, np.zeros((1, 64), np.float32)])
def test_an_encoder_that_yields_something_else_is_refused(tmp_path, chunk):
    encoder = HashEncoder()
    encoder.stream_documents = lambda texts: iter([chunk])
    with pytest.raises(TypeError, match="must yield Packed vectors"):
        Index.build(tmp_path / "i", make_passages(1), encoder)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda index: index.add(None), "passages must be several Passage objects.* NoneType"),
        (lambda index: index.add(Passage("x", "y")), "for example a list, not Passage"),
        (lambda index: index.sync(3), "passages must be several Passage objects.* int"),
        (lambda index: index.add([{"id": "x"}]), "passages must be Passage objects, not dict"),
        (lambda index: index.delete(None), "ids must be an id or a list of them"),
        (lambda index: Index(index.path), r"Index.open\(path\) opens an index"),
        (lambda index: Index.create(index.path, HashEncoder), "an encoder must be"),
        (lambda index: Index.create(index.path, HashEncoder(), engine=3), "engine must be a name"),
        (
            lambda index: Index.create(index.path, HashEncoder(), engine_settings="nbits"),
            "engine_settings must be a dictionary",
        ),
        (lambda index: Index.create(index.path, None, settings=3), "settings must be a dictionary"),
    ],
)
def test_a_wrong_type_is_one_clear_type_error(tmp_path, call, message):
    index = Index.build(tmp_path / "i", make_passages(2), HashEncoder())
    with pytest.raises(TypeError, match=message):
        call(index)
    assert len(Index.open(tmp_path / "i")) == 2
