"""Measures against pytrec_eval called directly."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval import InputError
from mbert_retrieval.eval.measures import cutoff_of, parse_measures, score

NAMES = "nDCG@10 nDCG@3 nDCG R@100 R@2 AP AP@5 P@5 Success@1 RR"
TREC_NAMES = {
    "nDCG@10": "ndcg_cut_10",
    "nDCG@3": "ndcg_cut_3",
    "nDCG": "ndcg",
    "R@100": "recall_100",
    "R@2": "recall_2",
    "AP": "map",
    "AP@5": "map_cut_5",
    "P@5": "P_5",
    "Success@1": "success_1",
    "RR": "recip_rank",
}

documents = st.integers(0, 14).map("d{}".format)
# few distinct scores make ties, the neighbours of 1 differ in float64 and tie in trec_eval's float
scores = st.sampled_from([0.0, 1.0, 1.0 + 1e-12, 1.0 - 1e-12, 2.0, -3.5, 1e-8])
queries = st.integers(0, 5).map("q{}".format)
all_qrels = st.dictionaries(
    queries, st.dictionaries(documents, st.integers(-3, 4), min_size=1), min_size=1
)
all_runs = st.dictionaries(queries, st.dictionaries(documents, scores))


def trec_order(ranking):
    """Document ids best first: float32 scores, equal ones by id, last first."""
    as_float = {d: struct.unpack("f", struct.pack("f", s))[0] for d, s in ranking.items()}
    return sorted(ranking, key=lambda document: (as_float[document], document), reverse=True)


@given(all_qrels, all_runs)
def test_agrees_with_pytrec_eval(qrels, run):
    result = score(parse_measures(NAMES), qrels, run)
    evaluator = pytrec_eval.RelevanceEvaluator(
        qrels,
        {
            "ndcg_cut.3,10",
            "ndcg",
            "recall.2,100",
            "map",
            "map_cut.5",
            "P.5",
            "success.1",
            "recip_rank",
        },
    )
    # pytrec_eval itself must not see a query without a grade of at least 0: it hangs or crashes
    safe = {q: r for q, r in run.items() if r and any(g >= 0 for g in qrels.get(q, {}).values())}
    expected = evaluator.evaluate(safe)
    for name, trec_name in TREC_NAMES.items():
        values = result.per_query[name]
        assert list(values) == list(qrels)
        for query in qrels:
            assert values[query] == expected.get(query, {}).get(trec_name, 0.0)
        assert result.mean[name] == pytest.approx(np.mean(list(values.values())), abs=1e-12)


@settings(deadline=None)  # importing beir counts as a part of the first example
@given(
    st.dictionaries(
        st.sampled_from(["d0", "d1", "q0", "q1", "q2"]),  # documents with the ids of queries too
        st.dictionaries(documents, st.integers(0, 4), min_size=1),
        min_size=1,
    ),
    st.dictionaries(queries, st.dictionaries(documents | queries, scores)),
)
def test_agrees_with_beirs_evaluator(qrels, run):
    """Documents with the query's own id are dropped, as BEIR does; its mean is over the queries
    that retrieved something, ours over all, so its sum is compared."""
    evaluation = pytest.importorskip("beir.retrieval.evaluation")
    dropped = {q: {d: s for d, s in ranking.items() if d != q} for q, ranking in run.items()}
    ours = score(parse_measures("nDCG@3 nDCG@10 AP@10 R@3 P@3"), qrels, dropped)
    answered = {q: ranking for q, ranking in run.items() if dropped[q] and q in qrels}
    if not answered:
        assert set(ours.mean.values()) == {0.0}
        return
    ndcg, average, recall, precision = evaluation.EvaluateRetrieval.evaluate(
        qrels, {q: dict(ranking) for q, ranking in answered.items()}, [3, 10]
    )
    share = len(answered) / len(qrels)
    theirs = {
        "nDCG@3": ndcg["NDCG@3"],
        "nDCG@10": ndcg["NDCG@10"],
        "AP@10": average["MAP@10"],
        "R@3": recall["Recall@3"],
        "P@3": precision["P@3"],
    }
    for name, value in theirs.items():
        assert ours.mean[name] == pytest.approx(value * share, abs=1e-5)  # BEIR rounds to five


@given(all_qrels, all_runs, st.integers(1, 4), st.sampled_from(["", "(rel=2)"]))
def test_reciprocal_rank_with_a_cutoff(qrels, run, k, level):
    values = score(parse_measures(f"RR{level}@{k}"), qrels, run).per_query[f"RR{level}@{k}"]
    for query, judged in qrels.items():
        top = trec_order(run.get(query, {}))[:k]
        ranks = [i for i, d in enumerate(top, 1) if judged.get(d, 0) >= (2 if level else 1)]
        assert values[query] == (1 / ranks[0] if ranks else 0.0)


def test_measures_with_and_without_gains_do_not_mix():
    qrels, run = {"q": {"a": 1, "b": 2}}, {"q": {"a": 2.0, "b": 1.0}}
    both = score(parse_measures("nDCG(gains={1:9, 2:3})@10,nDCG@10"), qrels, run).mean
    alone = score(parse_measures("nDCG@10"), qrels, run).mean
    assert (
        both["nDCG@10"]
        == alone["nDCG@10"]
        == pytest.approx((1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3)))
    )
    assert both["nDCG(gains={1:9,2:3})@10"] == 1.0


def test_a_missing_query_counts_as_zero_and_an_unjudged_one_not_at_all():
    qrels = {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 0}}
    run = {"q1": {"a": 1.0}, "q2": {}, "other": {"a": 1.0}}
    result = score(parse_measures("R@10,RR@10 R@10"), qrels, run)
    assert result.mean == {"R@10": pytest.approx(1 / 3), "RR@10": pytest.approx(1 / 3)}
    assert result.per_query["R@10"] == {"q1": 1.0, "q2": 0.0, "q3": 0.0}
    assert score(parse_measures("R@10"), qrels, {}).mean == {"R@10": 0.0}


def test_a_query_with_negative_grades_alone_counts_as_zero():
    qrels = {"q1": {"a": 4, "b": -2}, "q2": {"a": -2}, "q3": {"a": -1, "b": -3}}
    run = {query: {"a": 2.0, "b": 1.0} for query in qrels}
    values = score(parse_measures("nDCG@10 R@2 RR@10 AP"), qrels, run).per_query
    assert all(value == {"q1": 1.0, "q2": 0.0, "q3": 0.0} for value in values.values())


def test_cutoff_is_that_of_the_name():
    names = "nDCG@10 R(rel=2)@100 RR@5 RR AP nDCG"
    assert [cutoff_of(measure) for measure in parse_measures(names)] == [
        10,
        100,
        5,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    "name",
    [
        "nonsense",
        "nDCG@x",
        "nDCG@0",
        "R@-1",
        "ERR@10",
        "nDCG@10;R@5",
        "P(rel=0)@5",
        "nDCG(gains={1:-2,2:1})@5",
        "R@5)",
        "",
    ],
)
def test_unknown_measures_are_refused(name):
    with pytest.raises(InputError, match="measure"):
        parse_measures(name)
