"""`Packed` against lists of arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbert_retrieval import Packed
from mbert_retrieval.packed import offsets_from_lengths

sequences = st.lists(st.lists(st.integers(-100, 100), max_size=5), max_size=8)


def as_lists(packed: Packed) -> list[list[int]]:
    return [sequence.tolist() for sequence in packed]


@given(sequences)
def test_round_trip(lists):
    packed = Packed.from_sequences(lists, dtype=np.int64)
    assert as_lists(packed) == lists
    assert len(packed) == len(lists)
    assert packed.lengths.tolist() == [len(sequence) for sequence in lists]
    assert packed.offsets.dtype == np.int64
    assert packed.values.dtype == np.int64
    assert len(packed.values) == sum(map(len, lists))


@given(sequences, st.data())
def test_indexing_is_that_of_a_list(lists, data):
    packed = Packed.from_sequences(lists, dtype=np.int64)
    index = data.draw(st.integers(-len(lists) - 2, len(lists) + 1))
    if -len(lists) <= index < len(lists):
        assert packed[index].tolist() == lists[index]
    else:
        with pytest.raises(IndexError):
            packed[index]


@given(sequences, st.data())
def test_select_takes_any_order_and_repeats(lists, data):
    indices = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=10)) if lists else []
    packed = Packed.from_sequences(lists, dtype=np.int64)
    assert as_lists(packed.select(indices)) == [lists[index] for index in indices]


@given(st.lists(sequences, min_size=1, max_size=4))
def test_concatenate_joins_in_order(parts):
    joined = Packed.concatenate([Packed.from_sequences(part, dtype=np.int64) for part in parts])
    assert as_lists(joined) == [sequence for part in parts for sequence in part]


def test_rows_are_sequences_of_one():
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    packed = Packed.from_rows(rows)
    assert packed.lengths.tolist() == [1, 1, 1]
    assert np.array_equal(packed[1], rows[1:2])


def test_further_dimensions_stay():
    packed = Packed.from_sequences([np.ones((2, 3)), np.zeros((0, 3)), np.ones((1, 3))])
    assert packed.values.shape == (3, 3)
    assert packed[1].shape == (0, 3)
    assert packed.select([2, 0]).values.shape == (3, 3)


@given(st.lists(st.integers(0, 9)))
def test_offsets_are_running_sums(lengths):
    expected = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    assert offsets_from_lengths(lengths).tolist() == expected


@pytest.mark.parametrize("offsets", [[], [1, 3], [0, 2], [0, 4], [0, 2, 1, 3], [[0, 3]]])
def test_offsets_that_do_not_describe_the_values_are_refused(offsets):
    with pytest.raises(ValueError, match="offsets"):
        Packed(np.zeros(3), np.array(offsets, dtype=np.int64))


def test_lists_are_no_values():
    with pytest.raises(TypeError, match="values must be a numpy array, not list"):
        Packed([1, 2], np.array([0, 2]))


def test_lists_are_no_offsets():
    with pytest.raises(TypeError, match="offsets must be a numpy array, not list"):
        Packed(np.zeros(2), [0, 2])


def test_offsets_are_integers():
    with pytest.raises(TypeError, match="offsets must be integers, not float64"):
        Packed(np.zeros(2), np.array([0.0, 2.0]))


def test_a_slice_points_to_select():
    with pytest.raises(TypeError, match="use select"):
        Packed.from_rows(np.zeros((3, 2)))[:2]


@pytest.mark.parametrize("indices", [[True, False, True], [0.0, 2.0]])
def test_select_takes_integers_only(indices):
    """A mask would select sequences 0 and 1 over and over."""
    with pytest.raises(TypeError, match="indices must be integers"):
        Packed.from_rows(np.zeros((3, 2))).select(indices)
