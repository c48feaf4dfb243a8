"""Which fusion of the legs, and which rule on top of it, ranks better: on several collections.

    python -m benchmarks.quality.ranking

asks CoSQA, Cranfield and pinned source trees (see `code_data`): what functions do, by their
docstrings and comments, and where names are defined. The legs' rankings are stored in the cache,
under the encoder's fingerprint, so that rules are compared without encoding again. A rule is worth
having when it gains on the mean and loses on none. Writes docs/results/ranking.md.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from benchmarks.inputs import add_data_option
from benchmarks.quality.code_data import SEED, Tree, javascript_tree, python_tree
from benchmarks.quality.code_text import answers
from benchmarks.results_page import ROOT, write_table
from mbert_retrieval import Index, Passage, load_encoder
from mbert_retrieval.eval.datasets import read_beir
from mbert_retrieval.protocols import DocumentEncoder
from mbert_retrieval.search.fusion import LEXICAL_WEIGHT, fuse
from mbert_retrieval.search.ranking import definitions_first
from mbert_retrieval.sources import read_source

DEPTH = 100
NAMES = 150  # questions for a name, of each tree
LEGS = ("late", "dense", "lexical")
Ranking = list[tuple[str, float]]
Heads = Sequence[DocumentEncoder]


@dataclass
class Question:
    """rankings: leg -> its best `DEPTH`; relevant: id -> grade."""

    text: str
    relevant: dict[str, int]
    rankings: dict[str, Ranking]


@dataclass
class Collection:
    """passages: id -> path, name and kind of what rules look at."""

    questions: list[Question]
    passages: dict[str, dict[str, str]]


def ndcg(ranking: Ranking, relevant: dict[str, int], k: int = 10) -> float:
    gains = [relevant.get(id, 0) / np.log2(rank + 1) for rank, (id, _) in enumerate(ranking[:k], 1)]
    ideal = sorted(relevant.values(), reverse=True)[:k]
    return sum(gains) / sum(grade / np.log2(rank + 1) for rank, grade in enumerate(ideal, 1))


def beir(folder: Path, split: str, heads: Heads, work: Path) -> Collection:
    dataset = read_beir(folder, split)
    texts = list(dataset.queries.values())
    index = Index.build(work / f"{dataset.name}.index", dataset.passages(), heads, engine="flat")
    rankings = {leg: index.search_many(texts, DEPTH, leg) for leg in LEGS}
    questions = [
        Question(
            text,
            {id: grade for id, grade in dataset.qrels[query].items() if grade > 0},
            {leg: ranked[number].ranking for leg, ranked in rankings.items()},
        )
        for number, (query, text) in enumerate(dataset.queries.items())
    ]
    return Collection(questions, {})


def source_tree(tree: Tree, heads: Heads, work: Path) -> dict[str, Collection]:
    passages = list(read_source(tree.root, []))
    index = Index.build(work / f"{tree.root.name}.index", passages, heads, engine="flat")
    by_kind = {
        f"{kind}s": [
            (q.text, relevant)
            for q in questions
            if (relevant := {passages[number].id: 1 for number in answers(q, passages)})
        ]
        for kind, questions in tree.questions.items()
    }
    by_kind["names"] = names(passages)
    facts = {p.id: {"path": p.path or "", **p.metadata} for p in passages}
    collected = {}
    for kind, questions in by_kind.items():
        texts = [text for text, _ in questions]
        legs = {leg: index.search_many(texts, DEPTH, leg) for leg in LEGS}
        collected[kind] = Collection(
            [
                Question(text, relevant, {leg: legs[leg][number].ranking for leg in legs})
                for number, (text, relevant) in enumerate(questions)
            ],
            facts,
        )
    return collected


def names(passages: Sequence[Passage]) -> list[tuple[str, dict[str, int]]]:
    """Names of functions and classes that are defined once; the answer is the definition."""
    defined: dict[str, list[str]] = {}
    for passage in passages:
        if passage.metadata["kind"] in ("function", "method", "class"):
            name = passage.metadata["name"].rpartition(".")[2]
            defined.setdefault(name, []).append(passage.id)
    once = [(name, {ids[0]: 1}) for name, ids in defined.items() if len(ids) == 1 and len(name) > 5]
    return random.Random(SEED).sample(once, min(NAMES, len(once)))


def collections(heads: Heads, data: Path, cache: Path, work: Path) -> dict[str, Collection]:
    collected = {
        "CoSQA": beir(data / "cosqa", "dev", heads, work),
        "Cranfield": beir(data / "cranfield", "test", heads, work),
    }
    for language, tree in {
        "Python": python_tree(cache),
        "JavaScript": javascript_tree(cache),
    }.items():
        for kind, collection in source_tree(tree, heads, work).items():
            collected[f"{language}, {kind}"] = collection
    return collected


Rule = Callable[[Question, Collection], Ranking]


def alone(leg: str) -> Rule:
    return lambda question, _: question.rankings[leg]


def fused(legs: Sequence[str], weights: Sequence[float] | None, method: str) -> Rule:
    return lambda question, _: fuse(
        [question.rankings[leg] for leg in legs], DEPTH, weights, method
    )


def mean(rule: Rule, collection: Collection) -> float:
    scores = [ndcg(rule(q, collection), q.relevant) for q in collection.questions]
    return float(np.mean(scores))


def load(path: Path) -> dict[str, Collection]:
    return {
        name: Collection([Question(**q) for q in value["questions"]], value["passages"])
        for name, value in json.loads(path.read_text()).items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--encoder", default="nano")
    add_data_option(parser)
    parser.add_argument("--cache", type=Path, default=ROOT / ".mbert" / "code")
    arguments = parser.parse_args()
    heads = [load_encoder(arguments.encoder, head) for head in ("late", "dense")]
    fingerprints = " ".join(head.fingerprint for head in heads)
    work = arguments.cache / f"ranking-{sha256(fingerprints.encode()).hexdigest()[:12]}"
    file = work / "rankings.json"
    if not file.exists():
        collected = collections(heads, arguments.data, arguments.cache, work)
        file.write_text(json.dumps({name: asdict(value) for name, value in collected.items()}))
    collected = load(file)
    for collection in collected.values():  # a comment between two passages answers to none
        collection.questions = [q for q in collection.questions if q.relevant]
    late, dense = ("late", "lexical"), ("dense", "lexical")
    two, three = (1 - LEXICAL_WEIGHT, LEXICAL_WEIGHT), (0.35, 0.35, LEXICAL_WEIGHT)
    rules = {
        "late interaction alone": alone("late"),
        "dense alone": alone("dense"),
        "BM25 alone": alone("lexical"),
        "late + BM25, reciprocal ranks": fused(late, None, "rrf"),
        "late + BM25, min-max, BM25 0.3": fused(late, two, "minmax"),
        "late + BM25, standard scores, BM25 0.2": fused(late, (0.8, 0.2), "zscore"),
        "late + BM25, standard scores, BM25 0.3": fused(late, two, "zscore"),
        "late + BM25, standard scores, BM25 0.4": fused(late, (0.6, 0.4), "zscore"),
        "dense + BM25, standard scores, BM25 0.3": fused(dense, two, "zscore"),
        "all three, reciprocal ranks": fused(LEGS, None, "rrf"),
        "all three, standard scores, BM25 0.3": fused(LEGS, three, "zscore"),
        "... and definitions of names first": defining(fused(LEGS, three, "zscore")),
        "late + BM25 0.3 and definitions first": defining(fused(late, two, "zscore")),
    }
    rows = ["| nDCG@10 | " + " | ".join(collected) + " |", "|---|" + "---|" * len(collected)]
    for name, rule in rules.items():
        cells = " | ".join(f"{mean(rule, collection):.3f}" for collection in collected.values())
        rows.append(f"| {name} | {cells} |")
    counts = ", ".join(f"{name} {len(value.questions)}" for name, value in collected.items())
    head = f"{arguments.encoder}, questions: {counts}.\n\n"
    write_table("ranking", head + "\n".join(rows))


def defining(rule: Rule) -> Rule:
    """With the definitions of names in the question first."""

    def ranked(question: Question, collection: Collection) -> Ranking:
        def passages(ids: Sequence[str]) -> list[Passage]:
            return [Passage(id, "", metadata=collection.passages[id]) for id in ids]

        return definitions_first(question.text, rule(question, collection), passages)

    return ranked


if __name__ == "__main__":
    main()
