"""Run files: written and read again, and broken ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbert_retrieval import InputError
from mbert_retrieval.eval.measures import parse_measures, score
from mbert_retrieval.eval.runs import read_run, write_run

finite = st.floats(allow_nan=False, allow_infinity=False)
ids = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1)


@given(st.dictionaries(ids, st.dictionaries(ids, finite, min_size=1), min_size=1))
def test_run_file_round_trip(tmp_path_factory, run):
    path = tmp_path_factory.mktemp("run") / "run.trec"
    write_run(path, run, "a tag")
    assert read_run(path) == run
    for ranking in read_run(path).values():
        assert list(ranking.values()) == sorted(ranking.values(), reverse=True)


def test_run_file_of_float32_scores_one_ulp_apart_keeps_their_order(tmp_path):
    high = np.float32(25.123456)
    low = np.nextafter(high, np.float32(0))
    write_run(tmp_path / "run", {"q": {"z": low, "a": high}}, "tag")
    assert list(read_run(tmp_path / "run")["q"]) == ["a", "z"]
    assert (tmp_path / "run").read_text().split()[:3] == ["q", "Q0", "z"]
    qrels = {"q": {"a": 1}}
    assert score(parse_measures("RR"), qrels, read_run(tmp_path / "run")).mean == {"RR": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q Q0 d 1 2.0 t\nq Q0 e 1 2.0\n", ":2: 5 columns, expected 6"),
        ("q Q0 d 1 high t\n", ":1: the score 'high' is not a finite number"),
        ("q Q0 d 1 nan t\n", ":1: the score 'nan' is not a finite number"),
        ("q Q0 d 1 2 t\nq Q0 d 2 1 t\n", ":2: document 'd' is retrieved twice for 'q'"),
        ("\n", "contains no results"),
    ],
)
def test_broken_run_files(tmp_path, text, message):
    path = tmp_path / "run.trec"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_run(path)


def test_ids_that_a_run_file_cannot_hold(tmp_path):
    with pytest.raises(InputError, match="'d 1' has a space in it"):
        write_run(tmp_path / "run", {"q": {"d 1": 1.0}}, "tag")
    assert not list(tmp_path.iterdir())
