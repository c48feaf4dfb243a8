"""Data of masked language modelling: packing, pieces, masks, and the order of rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbert_retrieval import InputError
from mbert_retrieval.encoders.tokens import TextTokenizer
from mbert_retrieval.packed import Packed
from mbert_retrieval.training.mlm_data import (
    Masking,
    PackedRows,
    PieceFormat,
    collate,
    mask,
    pack_rows,
    tokenise,
)
from support.tiny_models import tiny_tokenizer

FORM = PieceFormat(length=16, cls_id=2, sep_id=3)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer().save_pretrained(folder)
    return TextTokenizer.load(folder)


LENGTHS = st.lists(st.integers(1, 32), min_size=1, max_size=400)


@given(LENGTHS, st.integers(0, 9))
def test_every_piece_is_in_exactly_one_row(lengths, seed):
    rows = pack_rows(np.array(lengths), 32, seed)
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(lengths)))


@given(LENGTHS, st.integers(0, 9))
def test_no_row_is_longer_than_its_size(lengths, seed):
    lengths = np.array(lengths)
    assert all(lengths[row].sum() <= 32 for row in pack_rows(lengths, 32, seed))


@given(LENGTHS, st.integers(0, 9))
def test_first_fit_leaves_one_row_at_most_half_empty(lengths, seed):
    rows = pack_rows(np.array(lengths), 32, seed)
    assert len(rows) <= 2 * sum(lengths) / 32 + 1


def test_short_texts_fill_their_rows():
    lengths = np.random.default_rng(0).integers(5, 200, 5000)
    rows = pack_rows(lengths, 1024, 0)
    assert lengths.sum() / (len(rows) * 1024) > 0.97


def test_pieces_are_packed_in_an_order_drawn_with_the_seed():
    orders = [np.concatenate(pack_rows(np.full(50, 8), 32, seed)).tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != sorted(orders[0])


def masking(fraction=0.3, special_ids=(0, 2, 3, 4)):
    return Masking(fraction, 4, special_ids, 31)


IDS = st.lists(st.integers(0, 30), max_size=200)


@given(IDS, st.floats(0.05, 0.9), st.integers(0, 99))
def test_the_fraction_of_the_ordinary_tokens_is_chosen(values, fraction, seed):
    ids = np.array(values, dtype=np.int64)
    _, chosen = mask(ids, masking(fraction), np.random.default_rng(seed))
    ordinary = ~np.isin(ids, [0, 2, 3, 4])
    assert ordinary[chosen].all()
    assert len(set(chosen.tolist())) == len(chosen)
    assert len(chosen) == (0 if not ordinary.any() else max(1, round(fraction * ordinary.sum())))


@given(IDS, st.integers(0, 99))
def test_tokens_that_are_not_chosen_stay(values, seed):
    ids = np.array(values, dtype=np.int64)
    masked, chosen = mask(ids, masking(), np.random.default_rng(seed))
    untouched = np.ones(len(ids), bool)
    untouched[chosen] = False
    assert (masked[untouched] == ids[untouched]).all()


@given(IDS, st.integers(0, 99))
def test_masks_are_those_of_the_seed(values, seed):
    ids = np.array(values, dtype=np.int64)
    first, again = (mask(ids, masking(), np.random.default_rng(seed))[0] for _ in range(2))
    assert (first == again).all()


def test_masks_are_four_fifths_mask_tokens():
    ids = np.full(20_000, 9, dtype=np.int64)
    masked, chosen = mask(ids, masking(special_ids=(4,)), np.random.default_rng(0))
    assert len(chosen) == 6000
    assert (masked[chosen] == 4).mean() == pytest.approx(0.8 + 0.1 / 31, abs=0.02)
    assert (masked[chosen] == 9).mean() == pytest.approx(0.1 + 0.1 / 31, abs=0.02)


def test_random_replacements_come_from_the_whole_vocabulary():
    ids = np.full(20_000, 9, dtype=np.int64)
    masked, _ = mask(ids, masking(special_ids=(4,)), np.random.default_rng(0))
    assert set(masked.tolist()) == set(range(31))


def test_long_texts_are_cut_into_pieces_of_the_length(tokenizer, tmp_path):
    pieces = tokenise(["to read the file " * 9, "x"], tokenizer, FORM, tmp_path)
    assert pieces.lengths.max() == 16
    assert all(piece[0] == 2 and piece[-1] == 3 for piece in pieces)


def test_the_pieces_hold_every_token_of_the_texts(tokenizer, tmp_path):
    texts = ["to read the file " * 9, "x", "", "abc def"]
    pieces = tokenise(texts, tokenizer, FORM, tmp_path)
    inner = np.concatenate([piece[1:-1] for piece in pieces])
    expected = np.concatenate(
        [tiny_tokenizer()(t, add_special_tokens=False)["input_ids"] for t in texts]
    )
    np.testing.assert_array_equal(inner, expected)


def test_stored_pieces_are_not_made_again(tokenizer, tmp_path):
    first = tokenise(["to read"], tokenizer, FORM, tmp_path)
    again = tokenise(iter(["something else"]), tokenizer, FORM, tmp_path)
    np.testing.assert_array_equal(first.values, again.values)


def test_texts_without_tokens_are_refused(tokenizer, tmp_path):
    with pytest.raises(InputError, match="the texts have no tokens"):
        tokenise(["", ""], tokenizer, FORM, tmp_path)


PIECES = Packed.from_sequences([[2, 10 + i, 3] for i in range(7)], np.int32)


def packed_rows(items=14, seed=5):
    return PackedRows(PIECES, [np.array([i]) for i in range(7)], items, seed)


def test_every_epoch_has_all_rows():
    pieces = [packed_rows()[i][0].values.tolist() for i in range(14)]
    assert sorted(pieces[:7]) == sorted(pieces[7:]) == [list(piece) for piece in PIECES]


def test_every_epoch_has_another_order():
    pieces = [packed_rows()[i][0].values.tolist() for i in range(14)]
    assert pieces[:7] != pieces[7:]


def test_an_item_does_not_depend_on_what_was_read_before():
    forwards, backwards = packed_rows(), packed_rows()
    read = {i: backwards[i] for i in reversed(range(14))}
    for i in range(14):
        piece, seed = forwards[i]
        np.testing.assert_array_equal(piece.values, read[i][0].values)
        assert seed == read[i][1]


def test_every_item_has_its_own_masks():
    assert len({packed_rows()[i][1] for i in range(14)}) == 14


def test_labels_are_the_ids_before_masking():
    rows = [packed_rows()[i] for i in range(4)]
    batch = collate(rows, Masking(0.9, 4, (2, 3, 4), 31))
    ids = np.concatenate([row.values for row, _ in rows])
    predicted = batch["predicted"].numpy()
    np.testing.assert_array_equal(batch["labels"].numpy(), ids[predicted])
    assert predicted.tolist() == [1, 4, 7, 10]  # the one ordinary token of each piece


def test_pieces_of_a_batch_have_their_own_offsets():
    row = PackedRows(PIECES, [np.array([0, 1]), np.array([2])], 2, 0)
    batch = collate([row[0], row[1]], masking())
    assert batch["cu_seqlens"].tolist() == [0, 3, 6, 9]
