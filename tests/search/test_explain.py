"""Explanations, against MaxSim and BM25 computed here by hand, and grep itself."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbert_retrieval import Index, Passage, load_encoder
from mbert_retrieval.cli.snippets import answering_lines, marked_lines
from mbert_retrieval.encoders.spans import TokenSpans, document_token_spans
from mbert_retrieval.errors import InputError, NotFoundError
from mbert_retrieval.search.alignment import Alignment, align
from support.cli import TREE, assert_refused, run, run_json
from support.hash_encoder import HashEncoder
from support.tiny_models import tiny_tokenizer

TEXTS = [
    "def read_file(self, path):\n    return open(path).read()",
    "parse http headers; retry when the connection is closed",
    "write a log file, then write the list of files",
    "the python list is sorted",
]
QUESTION = "how to read the file"


@pytest.fixture(scope="module")
def index(tmp_path_factory, tiny_encoder_folder):
    passages = [
        Passage(
            f"p{n}", text, title="A title" if n == 1 else "", path="a/b.py", start_line=10 * n + 1
        )
        for n, text in enumerate(TEXTS)
    ]
    folder = tmp_path_factory.mktemp("explained") / "i"
    return Index.build(folder, passages, load_encoder(tiny_encoder_folder), engine="flat")


def offsets(text: str) -> list[tuple[int, int]]:
    """Where transformers says that the tokens stand, the marker behind [CLS] included."""
    first, *rest = tiny_tokenizer()(text, return_offsets_mapping=True)["offset_mapping"]
    return [first, (0, 0), *rest]


def test_tokens_are_maxsim_computed_by_hand(index, tiny_encoder_folder):
    encoder = load_encoder(tiny_encoder_folder)
    query = encoder.encode_queries([QUESTION])[0]
    asked = offsets(QUESTION)
    hits = index.search(QUESTION, k=4, mode="late")
    found = hits.explain()
    assert [each.id for each in found] == [hit.passage.id for hit in hits]
    parts = set()
    for hit, each in zip(hits, found, strict=True):
        content = (
            f"{hit.passage.title} {hit.passage.text}" if hit.passage.title else hit.passage.text
        )
        before = len(content) - len(hit.passage.text)
        document = encoder.encode_documents([content])[0]
        spans = offsets(content)
        assert len(spans) == len(document)
        scores = query @ document.T
        assert [token.score for token in each.tokens] == pytest.approx(scores.max(1), abs=1e-5)
        assert sum(token.score for token in each.tokens) == pytest.approx(hit.score, abs=1e-4)
        for place, token in enumerate(each.tokens):
            start, end = asked[place]
            if end:
                assert (token.query_start, token.query_end) == (start, end)
                assert token.query == QUESTION[start:end]
            else:
                assert token.query_start is None
            start, end = spans[int(scores[place].argmax())]
            parts.add(token.part)
            if end == 0:
                assert (token.start, token.line, token.part) == (None, None, None)
            elif start < before:
                assert (token.start, token.line, token.part) == (None, None, "title")
                assert token.text == content[start:end]
            else:
                assert (token.start, token.end) == (start - before, end - before)
                assert token.part == "text"
                assert token.text == content[start:end]
                assert token.line == hit.passage.start_line + hit.passage.text[: token.start].count(
                    "\n"
                )
    assert "text" in parts


def test_pooled_passages_are_aligned_token_by_token(tmp_path, tiny_encoder_folder):
    encoder = load_encoder(tiny_encoder_folder, pool_factor=2)
    built = Index.build(tmp_path / "i", [Passage("a", TEXTS[1])], encoder, engine="flat")
    (alignment,) = align(built.search("retry"), [built.get("a")])
    whole = load_encoder(tiny_encoder_folder)
    scores = whole.encode_queries(["retry"])[0] @ whole.encode_documents([TEXTS[1]])[0].T
    assert len(built.folder.vectors("a")) < scores.shape[1]
    assert np.allclose(alignment.scores, scores, atol=1e-5)


def test_legs_say_what_each_part_alone_ranks_and_add_up(index):
    parts = {mode: index.search(QUESTION, k=4, mode=mode) for mode in ("late", "lexical")}
    hits = index.search(QUESTION, k=4)
    for hit, each in zip(hits, hits.explain(), strict=True):
        assert [leg.leg for leg in each.legs] == ["late", "lexical"]
        assert sum(leg.share for leg in each.legs) == pytest.approx(hit.score)
        for leg in each.legs:
            alone = {other.passage.id: other for other in parts[leg.leg]}
            if hit.passage.id in alone:
                assert (leg.rank, leg.score) == (
                    alone[hit.passage.id].rank, pytest.approx(alone[hit.passage.id].score, abs=1e-5)
                )  # fmt: skip
            else:
                assert (leg.rank, leg.score, leg.share) == (None, None, 0.0)


def test_a_passage_that_was_not_found_is_explained_too(index):
    best, *_, last = (hit.passage.id for hit in index.search(QUESTION, k=4, mode="late"))
    (below,) = index.search(QUESTION, k=1, mode="late").explain([last])
    assert below.legs[0].rank is None
    assert below.legs[0].score == pytest.approx(
        index.search(QUESTION, k=4, mode="late")[-1].score, abs=1e-5
    )
    (first,) = index.search(QUESTION, k=1, mode="late").explain([best])
    assert first.legs[0].rank == 1
    with pytest.raises(NotFoundError, match="'nope'"):
        index.search(QUESTION).explain(["nope"])
    with pytest.raises(InputError, match="unknown mode"):
        index.search(QUESTION, mode="magic")
    assert index.search(QUESTION).explain([]) == []


@pytest.mark.parametrize("group", [False, True])
def test_a_search_says_why_without_searching_again(tmp_path, tiny_encoder_folder, group):
    passages = [Passage(f"p{n}", t, path=f"{n // 2}.py") for n, t in enumerate(TEXTS)]
    index = Index.build(tmp_path / "i", passages, load_encoder(tiny_encoder_folder), engine="flat")
    result = index.search(QUESTION, 2, group=group)
    ids = [hit.passage.id for hit in result]
    expected = index.search(QUESTION, 8 if group else 2).explain(ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index.encoder, "encode_queries", None)
        patch.setattr(result.folder, "search_vectors", None)
        again = result.explain()
        marks = result.marks()
    assert [each.to_json(True) for each in again] == [each.to_json(True) for each in expected]
    assert marks == [each.marks for each in expected]
    for hit, each in zip(result, again, strict=True):
        assert sum(leg.share for leg in each.legs) == pytest.approx(hit.score)


def test_words_have_their_own_bm25(tmp_path):
    texts = ["zebra crossing", "zebra zebra grass", "grass of the savanna", "lion", "lion gnu"]
    built = Index.build(tmp_path / "i", [Passage(str(n), t) for n, t in enumerate(texts)], None)
    (found,) = built.search("the zebra in grass", mode="lexical").explain(["1"])

    def bm25(word: str) -> float:
        documents = [text.split() for text in texts]
        with_word = sum(word in words for words in documents)
        idf = math.log((len(texts) - with_word + 0.5) / (with_word + 0.5))
        count, length = documents[1].count(word), len(documents[1])
        mean = sum(map(len, documents)) / len(texts)
        return idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / mean))

    assert {word.word: word.score for word in found.words} == pytest.approx(
        {"zebra": bm25("zebra"), "grass": bm25("grass")}, rel=1e-6
    )
    assert sum(word.score for word in found.words) == pytest.approx(found.legs[0].score)
    assert [word.spans for word in found.words] == [[(0, 5), (6, 11)], [(12, 17)]]
    assert found.marks == [(0, 5, 1.0), (6, 11, 1.0), (12, 17, 1.0)]
    assert found.tokens == []


def _alignment(names, spans, query, scores, text):
    content = TokenSpans(np.array(spans), names)
    asked = TokenSpans(np.array([(0, 1)] * len(query)), query)
    inside = np.zeros(len(names), dtype=bool)
    return Alignment(asked, content, inside, np.array(scores, dtype=np.float32), text)


def test_marks_take_parts_of_identifiers_whole_and_leave_stop_words():
    text = "retries the with_ retr"
    names, spans = ["retr", "ies", "the", "with"], [(0, 4), (4, 7), (8, 11), (12, 16)]
    cold = [-0.4] * 4
    alignment = _alignment(names, spans, ["retry", "the"], [[0.5, 0.9, 0.9, -0.4], cold], text)
    (mark,) = alignment.marks()
    mean = (0.5 + 0.9 + 0.9 - 0.4) / 4
    assert mark == (0, 7, pytest.approx((0.9 - mean) / (1 - mean), abs=1e-3))
    assert _alignment(names, spans, ["the"], [[1.0, 1, 1, -1]], text).marks() == []


def test_the_table_tells_content_tokens_from_stop_words_and_punctuation():
    text = "a the_x (if) abc"
    names = ["[CLS]", "a", "the", "_", "x", "(", "if", ")", "a", "bc"]
    spans = [
        (-1, -1),
        (0, 1),
        (2, 5),
        (5, 6),
        (6, 7),
        (8, 9),
        (9, 11),
        (11, 12),
        (13, 14),
        (14, 16),
    ]
    table = _alignment(names, spans, ["the", "?", "if"], [[0.0] * 10] * 3, text).to_json()
    assert table["query_content"] == [False, False, True]
    content = [
        text[slice(*span)]
        for span, is_content in zip(table["spans"], table["text_content"], strict=True)
        if is_content
    ]
    assert content == ["x", "if", "a", "bc"]


def test_spans_are_of_the_text_whatever_is_in_it(tiny_encoder_folder):
    encoder = load_encoder(tiny_encoder_folder)
    for text in ["", " \t\n ", "é日本 \U0001f600 read", "\x00a\x07", "x" * 2000]:
        pieces = document_token_spans(encoder, text)
        assert len(pieces) == len(encoder.encode_documents([text])[0])
        for (start, end), name in zip(pieces.spans.tolist(), pieces.names, strict=True):
            assert (start, end) == (-1, -1) or text[start:end] == name != ""


@given(
    st.text(st.sampled_from("ab \t\n\u2003_\x1bé"), max_size=80),
    st.lists(st.integers(0, 80), max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_marks_follow_their_characters_into_lines(text, cuts, in_file, as_is):
    edges = sorted({cut for cut in cuts if cut <= len(text)})
    marks = [(a, b, 0.5) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    path = "a.py" if in_file else None
    passage = Passage("id", text, path=path, start_line=1, end_line=9)
    marked = "".join(text[start:end] for start, end, _ in marks)
    lines = marked_lines(passage, marks, as_is)
    shown = [line.text[start:end] for line in lines for start, end, _ in line.marks]
    squeeze = re.compile(r"\s+")
    assert squeeze.sub("", "".join(shown)) == squeeze.sub("", marked).replace("\x1b", "\ufffd")
    assert set(answering_lines(lines)) <= set(range(max(1, len(lines))))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("grepped")
    for name, content in TREE.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content.replace("    ", "\t"))
    assert run("index", "build", root, "--encoder", "none").returncode == 0
    return root


def test_lines_are_what_grep_prints(tree):
    ours = run("search", "query", "closed connection retries", "-n", cwd=tree)
    assert (ours.returncode, ours.stderr) == (0, "")
    grep = ["grep", "-rn", "", ".", "--exclude-dir=.mbert"]
    every = subprocess.run(grep, cwd=tree, capture_output=True, text=True, check=True)
    lines = ours.stdout.splitlines()
    assert len(lines) == len(set(lines)) > 1
    assert set(lines) <= {line.removeprefix("./") for line in every.stdout.splitlines()}
    assert any("closed" in line for line in lines)
    assert any("\t" in line for line in lines)
    files = run("search", "query", "closed connection retries", "-l", cwd=tree).stdout.splitlines()
    assert files == list(dict.fromkeys(line.split(":")[0] for line in lines))
    counts = run("search", "query", "closed connection retries", "-c", cwd=tree).stdout.splitlines()
    assert counts == [f"{f}:{sum(line.startswith(f + ':') for line in lines)}" for f in files]


def test_reasons_are_printed_and_in_json(tree):
    hits = run_json("search", "query", "closed connection", "--explain", "--json", cwd=tree)
    for hit in hits:
        assert list(hit["matches"]) == ["legs", "tokens", "words", "marks"]
        assert hit["matches"]["legs"][0]["share"] == pytest.approx(hit["score"])
        for start, end, _ in hit["matches"]["marks"]:
            assert hit["text"][start:end].lower() in ("closed", "connection")
    done = run("search", "query", "closed connection", "--explain", cwd=tree)
    assert re.search(r"^ +lexical #1 ", done.stdout, re.MULTILINE)
    assert re.search(r"^ +BM25 +closed \d", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-l", "-c"], "-l and -c are two forms"),
        (["--json", "-n"], "--json and -n are two forms"),
        (["--explain", "-n"], "-n cannot show what --explain prints"),
    ],
)
def test_two_forms_at_once_are_refused(tree, options, expected):
    assert_refused(run("search", "query", "x", *options, cwd=tree), expected)


def test_tokens_are_printed_without_torch(index):
    script = (
        "import sys; sys.argv[1:] = ['query', 'read the file', '--explain', *sys.argv[1:]]\n"
        "from mbert_retrieval.cli.search import app\n"
        "app(standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", script, "--index", index.folder.path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(r"read→\S+", done.stdout)
    assert re.search(r"late #\d .* lexical #\d", done.stdout)
    assert json.loads(json.dumps(index.search("read").explain(["p0"])[0].to_json(table=True)))


def test_an_encoder_of_the_users_own_is_explained_without_tokens(tmp_path):
    index = Index.build(tmp_path / "i", [Passage("a", "retry the call")], HashEncoder())
    result = index.search("retry")
    (explanation,) = result.explain()
    assert [leg.leg for leg in explanation.legs] == ["late", "lexical"]
    assert explanation.tokens == []
    assert explanation.marks == result.marks()[0] == [(0, 5, 1.0)]
