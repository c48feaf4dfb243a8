"""Hard negatives: what an encoder ranks high for a query and what is not its answer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..types import Passage
from .dataset import Example, read_examples
from .recipe import DataOptions, positive, sections

if TYPE_CHECKING:
    from ..encoders.base import BaseEncoder

QUERIES = 1024  # searched at once

Teacher = Callable[[list[tuple[str, str]]], Any]
"""Scores of (query, document) pairs, (pairs,), higher for a better match."""


@dataclass(frozen=True)
class MiningOptions:
    """What is mined, and what is held to be no negative.

    encoder: "nano", a folder or a model of the hub; head: dense or late where it has both.
    output: .jsonl file of the rows. corpus: .jsonl collection to mine from; by default the BEIR
        folder's own, or all positives of the rows.
    negatives: of each row. skip, depth: ranks that are candidates, from skip + 1 to depth,
        positives not counted.
    margin, relative_margin: a candidate scores at most positive - margin, at most
        positive x (1 - relative_margin). max_score: at most that.
    cross_encoder: sentence-transformers model whose score of a candidate must stay `cross_margin`
        below that of the positive. scores: write its scores, for distillation.
    kind, index: of the index, and a folder to keep it in.
    """

    encoder: str = "nano"
    head: str | None = None
    output: str = ""
    corpus: str | None = None
    negatives: int = 7
    skip: int = 0
    depth: int = 100
    margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None
    cross_encoder: str | None = None
    cross_margin: float = 0.0
    scores: bool = False
    kind: str = "flat"
    index: str | None = None


@dataclass(frozen=True)
class MineRecipe:
    """All sections. `data` names the rows whose queries and positives are taken."""

    kind: str = "mine"
    data: DataOptions = field(default_factory=DataOptions)
    mining: MiningOptions = field(default_factory=MiningOptions)

    def __post_init__(self) -> None:
        """Raises InputError for what cannot be mined."""
        mining = self.mining
        for name, value in (("data.train", self.data.train), ("mining.output", mining.output)):
            if not value:
                raise InputError(f"{name} is missing: name it in the config or by a flag")
        positive("mining", mining, "negatives", "depth")
        if mining.skip < 0 or mining.skip + mining.negatives > mining.depth:
            raise InputError(
                f"ranks {mining.skip + 1} to {mining.depth} hold no {mining.negatives} candidates: "
                "raise mining.depth"
            )
        if mining.scores and not mining.cross_encoder:
            raise InputError("mining.scores needs mining.cross_encoder")

    @classmethod
    def parse(cls, raw: dict[str, Any], where: str = "config") -> MineRecipe:
        """A recipe of the sections of a TOML file. Raises InputError that names the key."""
        return cls("mine", **sections(cls, "mine", raw, where))


@dataclass
class Mined:
    """rows: written. short: left out, for too few candidates were no false negatives."""

    output: Path
    rows: int = 0
    short: int = 0


def mine(
    recipe: MineRecipe,
    teacher: Teacher | None = None,
    progress: Callable[[int], None] | None = None,
) -> Mined:
    """Write rows with hard negatives: {"query", "positive", "negatives"}, or with `scores`
    {"query", "documents", "scores"}, the positive first.

    teacher: scores pairs in place of `cross_encoder`. progress: called with the rows done.
    Raises InputError for data or options that do not fit.
    """
    from ..encoders import load_encoder
    from ..index import Index

    options = recipe.mining
    if teacher is None and options.cross_encoder:
        from sentence_transformers import CrossEncoder

        teacher = CrossEncoder(options.cross_encoder).predict
    examples = list(read_examples(recipe.data))
    if recipe.data.rows is not None:
        examples = examples[: recipe.data.rows]
    if not examples:
        raise InputError("the training data holds no rows")
    positives: dict[str, set[str]] = {}
    for example in examples:
        positives.setdefault(example.query, set()).add(example.documents[0])
    encoder = load_encoder(options.encoder, options.head)
    passages = _passages(recipe, examples)
    texts = {passage.id: passage.content for passage in passages}
    mined = Mined(Path(options.output))
    partial = mined.output.with_name(f".{mined.output.name}.{os.getpid()}")
    try:
        mined.output.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as temporary, open(partial, "w", encoding="utf-8") as file:
            place = options.index or Path(temporary) / "index"
            index = Index.build(place, passages, encoder, kind=options.kind, lexical=False)
            for start in range(0, len(examples), QUERIES):
                part = examples[start : start + QUERIES]
                queries = [example.query for example in part]
                most = max(len(positives[query]) for query in queries)
                results = index.search_many(queries, options.depth + most, mode="vector")
                own = positive_scores(encoder, part)
                for example, result, score in zip(part, results, own, strict=True):
                    ranked = [(texts[id], float(value)) for id, value in result.ranking]
                    found = candidates(ranked, positives[example.query], float(score), options)
                    row = _row(example, found, teacher, options)
                    if row is None:
                        mined.short += 1
                    else:
                        file.write(json.dumps(row, ensure_ascii=False) + "\n")
                        mined.rows += 1
                if progress:
                    progress(start + len(part))
        partial.replace(mined.output)
    except OSError as error:
        raise InputError(f"cannot write {mined.output}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
    return mined


def candidates(
    ranked: list[tuple[str, float]], positives: set[str], score: float, options: MiningOptions
) -> list[str]:
    """The texts of a ranking, best first, that no filter holds for an answer.

    ranked: (text, score), best first. score: that of the row's own positive.
    """
    highest = float("inf") if options.max_score is None else options.max_score
    if options.margin is not None:
        highest = min(highest, score - options.margin)
    if options.relative_margin is not None:
        highest = min(highest, score * (1 - options.relative_margin))
    others = [(text, value) for text, value in ranked if text.strip() and text not in positives]
    ranks = others[options.skip : options.depth]
    return list(dict.fromkeys(text for text, value in ranks if value <= highest))


def positive_scores(encoder: BaseEncoder, examples: list[Example]) -> np.ndarray:
    """Each query's score with its own positive: the inner product, or the sum of MaxSim. (rows,)"""
    queries = encoder.encode_queries([example.query for example in examples])
    documents = encoder.encode_documents([example.documents[0] for example in examples])
    return np.array([(q @ d.T).max(1).sum() for q, d in zip(queries, documents, strict=True)])


def _row(
    example: Example, found: list[str], teacher: Teacher | None, options: MiningOptions
) -> dict[str, Any] | None:
    query, answer = example.query, example.documents[0]
    if teacher is None:
        if len(found) < options.negatives:
            return None
        return {"query": query, "positive": answer, "negatives": found[: options.negatives]}
    scores = np.asarray(teacher([(query, text) for text in (answer, *found)]), dtype=np.float64)
    if scores.shape != (1 + len(found),):
        raise InputError(
            f"the cross-encoder gives scores of shape {scores.shape}, one a pair needed"
        )
    kept = np.flatnonzero(scores[1:] <= scores[0] - options.cross_margin)[: options.negatives]
    if len(kept) < options.negatives:
        return None
    negatives = [found[i] for i in kept]
    if not options.scores:
        return {"query": query, "positive": answer, "negatives": negatives}
    listed = [float(scores[0]), *(float(scores[1 + i]) for i in kept)]
    return {"query": query, "documents": [answer, *negatives], "scores": listed}


def _passages(recipe: MineRecipe, examples: list[Example]) -> list[Passage]:
    """What is mined from; of equal texts the first alone."""
    return list(
        {passage.content: passage for passage in reversed(list(_all(recipe, examples)))}.values()
    )[::-1]


def _all(recipe: MineRecipe, examples: list[Example]) -> Iterator[Passage]:
    from ..eval.datasets import read_beir
    from ..sources.jsonl import read_jsonl

    source = recipe.data.train
    if recipe.mining.corpus is not None:
        yield from read_jsonl(Path(recipe.mining.corpus))
    elif not source.startswith("hub:") and Path(source).is_dir():
        yield from read_beir(source, recipe.data.split).passages()
    else:
        for i, example in enumerate(examples):
            yield Passage(str(i), example.documents[0])
