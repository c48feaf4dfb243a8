"""What an encoder should see of a passage of code: its text alone, or with what is known of it.

    python -m benchmarks.quality.code_text

asks CoSQA's questions (a sample of its functions) and questions about pinned source trees (see
`code_data`), with exact late interaction, and writes docs/results/code-text.md.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.inputs import add_data_option
from benchmarks.quality.code_data import SEED, Question, Tree, javascript_tree, python_tree
from benchmarks.results_page import ROOT, write_table
from mbert_retrieval import Passage, load_encoder
from mbert_retrieval.eval.datasets import read_beir
from mbert_retrieval.indexes.lexical import PART
from mbert_retrieval.packed import Packed
from mbert_retrieval.sources import read_source
from mbert_retrieval.sources.split import split_into_passages

COSQA_FUNCTIONS = 1500
Questions = list[tuple[str, set[int]]]  # text, numbers of the passages that answer it


def words(text: str) -> str:
    return " ".join(part.lower() for part in PART.findall(re.sub(r"\.\w+$", "", text)))


def raw(passage: Passage) -> str:
    return passage.text


def named(passage: Passage) -> str:
    name = passage.metadata["name"]
    return f"{passage.path or ''} {name} {passage.text}".strip()


def titled(passage: Passage) -> str:
    return f"{passage.metadata['name']} {passage.text}".strip()


def worded(passage: Passage) -> str:
    facts = passage.metadata
    path = words(passage.path or "")
    return f"{path} {facts['kind']} {words(facts['name'])} {passage.text}".strip()


def documented(passage: Passage) -> str:
    facts = passage.metadata
    doc = facts.get("doc", "").partition(". ")[0]
    head = f"{words(passage.path or '')} {facts['kind']} {words(facts['name'])}"
    return f"{head}. {doc}. {facts.get('signature', '')}\n{passage.text}".strip()


VARIANTS: dict[str, Callable[[Passage], str]] = {
    "the code alone": raw,
    "name, code": titled,
    "path, name, code": named,
    "words of path and name, kind, code": worded,
    "the same, documentation, signature, code": documented,
}


def cosqa(folder: Path) -> tuple[list[Passage], Questions]:
    """All questions, their functions, and others up to `COSQA_FUNCTIONS`."""
    dataset = read_beir(folder, "dev")
    passages = list(dataset.passages())
    wanted = {id for judged in dataset.qrels.values() for id in judged}
    others = [passage.id for passage in passages if passage.id not in wanted]
    chosen = wanted | set(random.Random(SEED).sample(others, COSQA_FUNCTIONS - len(wanted)))
    described = []
    for passage in passages:
        if passage.id in chosen:
            units = list(split_into_passages(passage.text, "f.py"))
            facts = units[0].metadata if units else {"kind": "module", "name": ""}
            described.append(replace(passage, metadata=facts))
    numbers = {passage.id: number for number, passage in enumerate(described)}
    return described, [
        (dataset.queries[query], {numbers[id] for id in judged})
        for query, judged in dataset.qrels.items()
    ]


def questions_of(tree: Tree, passages: list[Passage], kind: str) -> Questions:
    return [(q.text, set(answers(q, passages))) for q in tree.questions[kind]]


def answers(question: Question, passages: list[Passage]) -> Iterator[int]:
    """The passages that hold any line of a question's answer, or the one that it introduces."""
    for number, passage in enumerate(passages):
        if passage.path == question.path:
            assert passage.start_line is not None
            assert passage.end_line is not None
            if passage.start_line <= question.end + 1 and passage.end_line >= question.start:
                yield number


def max_sim(query: np.ndarray, documents: Packed) -> np.ndarray:
    """(P,) scores of the documents. query: (q, D)."""
    best = np.maximum.reduceat(documents.values @ query.T, documents.offsets[:-1], axis=0)
    return best.sum(axis=1)


def reciprocal_rank(scores: np.ndarray, relevant: set[int]) -> float:
    """Of the first relevant one among ten. scores: (P,)."""
    top = np.argsort(-scores, kind="stable")[:10]
    return next((1 / rank for rank, number in enumerate(top, 1) if number in relevant), 0.0)


def _cell(value: float | None) -> str:
    return "not run" if value is None else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--encoder", default="nano")
    parser.add_argument("--table", action="store_true", help="write what was measured before")
    add_data_option(parser)
    parser.add_argument("--cache", type=Path, default=ROOT / ".mbert" / "code")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.encoder, "late")
    trees = {"Python": python_tree(arguments.cache), "JavaScript": javascript_tree(arguments.cache)}
    functions, questions = cosqa(arguments.data / "cosqa")
    corpora: dict[str, tuple[list[Passage], dict[str, Questions]]] = {
        "CoSQA": (functions, {"CoSQA": questions})
    }
    for language, tree in trees.items():
        passages = list(read_source(tree.root, []))
        kinds = {f"{language}, {k}s": questions_of(tree, passages, k) for k in tree.questions}
        corpora[language] = (passages, kinds)
    results = arguments.cache / f"code-text-{encoder.fingerprint[:8]}.json"
    scores_of = json.loads(results.read_text()) if results.exists() else {}
    for variant, content in VARIANTS.items():
        for passages, kinds in corpora.values():
            if arguments.table or all(f"{variant} | {kind}" in scores_of for kind in kinds):
                continue
            documents = encoder.encode_documents([content(passage) for passage in passages])
            for kind, judged_queries in kinds.items():
                queries = encoder.encode_queries([text for text, _ in judged_queries])
                ranks = [
                    reciprocal_rank(max_sim(query, documents), relevant)
                    for query, (_, relevant) in zip(queries, judged_queries, strict=True)
                ]
                scores_of[f"{variant} | {kind}"] = float(np.mean(ranks))
                print(variant, kind, scores_of[f"{variant} | {kind}"], flush=True)
            results.write_text(json.dumps(scores_of))
    collections = [kind for _, kinds in corpora.values() for kind in kinds]
    rows = ["| what the encoder sees | " + " | ".join(collections) + " |"]
    rows.append("|---|" + "---|" * len(collections))
    for variant in VARIANTS:
        cells = " | ".join(_cell(scores_of.get(f"{variant} | {name}")) for name in collections)
        rows.append(f"| {variant} | {cells} |")
    sizes = ", ".join(
        f"{kind} {len(judged_queries)} questions, {len(passages):,} passages"
        for passages, kinds in corpora.values()
        for kind, judged_queries in kinds.items()
    )
    head = f"{encoder.name}, RR@10 ({sizes}):\n\n"
    write_table("code-text", head + "\n".join(rows))


if __name__ == "__main__":
    main()
