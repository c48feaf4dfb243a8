"""BM25 against its formula, and what counts as a word."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval import Passage
from mbert_retrieval.indexes import IndexFolder
from mbert_retrieval.indexes.lexical import analyse, match_expression

# words that neither stemming nor the stop words touch
WORDS = ["fox", "dog", "cat", "cow", "pig", "hen"]


def bm25(query: list[str], documents: dict[str, list[str]]) -> dict[str, float]:
    """Robertson and Zaragoza 2009, k1 1.2, b 0.75, with FTS5's floor for common words."""
    count = len(documents)
    average = sum(map(len, documents.values())) / count
    scores = {}
    for id, words in documents.items():
        frequencies = Counter(words)
        score = 0.0
        for word in set(query):
            holding = sum(word in other for other in documents.values())
            rarity = math.log((count - holding + 0.5) / (holding + 0.5)) if holding else 0.0
            frequency = frequencies[word]
            norm = 1.2 * (0.25 + 0.75 * len(words) / average)
            score += max(rarity, 1e-6) * frequency * 2.2 / (frequency + norm)
        if frequencies.keys() & set(query):
            scores[id] = score
    return scores


documents = st.dictionaries(
    st.text(min_size=1, max_size=3).filter(lambda id: id.isprintable()),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=12),
    min_size=1,
    max_size=8,
)


@settings(max_examples=30, deadline=None)
@given(documents, st.data())
def test_scores_are_bm25(tmp_path_factory, documents, data):
    query = data.draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4))
    folder = index(tmp_path_factory.mktemp("lexical") / "index", documents)
    deleted = data.draw(st.sets(st.sampled_from(sorted(documents)), max_size=len(documents) - 1))
    with folder.writer() as writer:  # deleted passages no longer count in any statistic
        writer.delete(deleted)
        writer.commit()
    left = {id: words for id, words in documents.items() if id not in deleted}
    expected = sorted(bm25(query, left).items(), key=lambda hit: (-hit[1], hit[0]))
    found = folder.search_lexical([" ".join(query)], k=10)[0]
    assert {id: pytest.approx(score, abs=1e-5) for id, score in found} == dict(expected)
    assert found == sorted(found, key=lambda hit: (-hit[1], hit[0]))
    assert folder.search_lexical([" ".join(query)], k=2)[0] == found[:2]
    assert folder.verify() == []
    folder.close()


def index(path, documents) -> IndexFolder:
    folder = IndexFolder.create(path, legs=[], lexical=True)
    with folder.writer() as writer:
        writer.add([Passage(id, " ".join(words)) for id, words in documents.items()], {})
        writer.commit()
    return folder


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("def readHTTPHeader(): pass", "http header"),
        ("def readHTTPHeader(): pass", "readHTTPHeader"),
        ("max_retries = 3", "how many retries"),
        ("max_retries = 3", "max_retries"),
        ("The engines were running", "engine run"),
        ("Café au lait", "cafe"),
        ("naïve Straße", "STRASSE naive straße"),
        ("数据库连接池", "连接"),
        ("データベース", "ベース"),
        ("sha256 digest", "sha 256"),
        ("Привет мир", "привет"),
    ],
)
def test_found_by(tmp_path, text, query):
    folder = index(tmp_path / "index", {"it": [text], "other": ["nothing of the kind"]})
    assert [id for id, _ in folder.search_lexical([query], k=5)[0]] == ["it"]


def test_titles_are_searched(tmp_path):
    folder = IndexFolder.create(tmp_path / "index", legs=[], lexical=True)
    with folder.writer() as writer:
        writer.add([Passage("a", "body", title="Heading")], {})
        writer.commit()
    assert [id for id, _ in folder.search_lexical(["heading"], k=5)[0]] == ["a"]


def test_stop_words_are_dropped_unless_alone():
    assert match_expression("where are the retries") == '"retries"'
    assert match_expression("to be or") == '"to" OR "be" OR "or"'
    assert match_expression(" ?! ") == ""


@settings(max_examples=100, deadline=None)
@given(query=st.text(st.sampled_from("ab \"'*():-^+{}\\ANDORNOTEAR\x00\n,."), max_size=20))
def test_no_query_is_a_syntax_error(query, shared_folder):
    found = shared_folder.search_lexical([query], k=5)[0]
    assert all(score > 0 for _, score in found)


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    return index(tmp_path_factory.mktemp("lexical") / "index", {"a": ["a b AND or near"]})


def test_identifiers_stay_whole_beside_their_parts():
    assert analyse("getURLFor_userName(x)") == "getURLFor_userName get URL For user Name x"
