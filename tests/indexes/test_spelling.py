"""Words that are spelled like words of the index."""

from __future__ import annotations

import pytest

from mbert_retrieval import Index, Passage

TEXTS = [
    "def retry_connection(timeout): the connection is closed after the timeout",
    "class HTTPHeaderParser: parse the headers of a response",
    "Verbindungen werden wieder aufgebaut; Übergrößenträger",
    "happily the connections were retried",
]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    passages = [Passage(f"p{number}", text) for number, text in enumerate(TEXTS)]
    return Index.build(tmp_path_factory.mktemp("spelling") / "i", passages, None)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("conection", {"conection": ["connection"]}),
        ("Tiemout after", {"Tiemout": ["timeout"]}),
        ("paresr", {"paresr": ["parser", "parse"]}),  # a part of an identifier
        ("übergrösenträger", {"übergrösenträger": ["übergrößenträger"]}),
        ("hapily", {"hapily": ["happily"]}),
        ("connecting", {}),  # the index has another form of it
        ("connection timeout", {}),
        ("the and was", {}),
        ("xyzzy", {}),
        ("ab", {}),
        ('"; DROP TABLE -- %_* \x00', {}),
        ("", {}),
        ("日本語の言葉", {}),
    ],
)
def test_words_that_no_passage_has_get_words_like_them(index, query, expected):
    assert index.folder.spelling(query) == expected


def test_most_similar_first_and_no_more_than_wanted(tmp_path):
    words = "parse parser pars1 parsley parsnip sparse"
    folder = Index.build(tmp_path / "i", [Passage("p", words)], None).folder
    three = folder.spelling("parsr")["parsr"]
    assert len(three) == 3
    assert three[0] in {"parse", "parser"}
    assert folder.spelling("parsr", most=1) == {"parsr": three[:1]}


def test_an_index_without_words_corrects_nothing(tmp_path, tiny_encoder_folder):
    from mbert_retrieval import load_encoder

    encoder = load_encoder(tiny_encoder_folder)
    index = Index.build(
        tmp_path / "i", [Passage("p", "connection")], encoder, engine="flat", lexical=False
    )
    assert index.folder.spelling("conection") == {}


def test_a_sample_is_from_all_over_the_index_and_always_the_same(tmp_path):
    passages = [Passage(f"p{number}", f"text {number}") for number in range(100)]
    index = Index.build(tmp_path / "i", passages, None)
    assert [passage.id for passage in index.folder.sample(4)] == ["p0", "p24", "p49", "p74"]
    index.delete([f"p{number}" for number in range(10, 100)])
    assert len(index.folder.sample(50)) == len({p.id for p in index.folder.sample(50)}) <= 10
    index.delete([f"p{number}" for number in range(10)])
    assert index.folder.sample(4) == []
