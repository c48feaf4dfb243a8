"""Mine hard negatives: passages that an encoder ranks high for a query without being its answer."""

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
from .recipe import DataOptions, check_positive, check_present
from .recipe_toml import check_types, parse_sections

if TYPE_CHECKING:
    from ..encoders.base import BaseEncoder

QUERIES = 1024  # queries per search

Teacher = Callable[[list[tuple[str, str]]], Any]
"""Scores (query, document) pairs: returns (pairs,) numbers, higher for a better match."""


@dataclass(frozen=True)
class MiningOptions:
    """Section `[mining]`: how negatives are mined, and which candidates are rejected.

    Candidates are the passages at ranks skip + 1 to depth, the query's positives not counted. A
    candidate that scores too high may be an unlabelled answer, so it is rejected.

    Attributes:
        encoder: "nano", a folder, or a model on the Hugging Face Hub.
        head: "dense" or "late" if the encoder has both.
        output: The .jsonl file to write.
        corpus: A .jsonl collection to mine from. By default the corpus of the BEIR folder, or all
            positives of the rows.
        negatives: Negatives per row.
        skip: Number of top ranks to skip.
        depth: Last rank that is a candidate.
        margin: A candidate must score at most positive - margin.
        relative_margin: A candidate must score at most positive * (1 - relative_margin); 0.05 in
            NV-Retriever (Moreira et al. 2024).
        max_score: A candidate must score at most this.
        cross_encoder: A sentence-transformers CrossEncoder. Its score of a candidate must be at
            least `cross_margin` below that of the positive (RocketQA's denoising, Qu et al. 2021).
        cross_margin: See `cross_encoder`.
        scores: Write the cross-encoder's scores, for distillation.
        engine: Index engine: "flat", "plaid" or "faiss". The TOML option is `kind`.
        index: Folder in which to keep the index; by default it is temporary.
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
    engine: str = field(default="flat", metadata={"toml": "kind"})
    index: str | None = None


@dataclass(frozen=True)
class MineRecipe:
    """All options of mining hard negatives; see `mine`.

    Attributes:
        objective: "mine". The TOML option is `kind`.
        data: The rows whose queries and positives are used.
        mining: How negatives are mined.

    Raises:
        InputError: If an option is missing, has a wrong type or value, or does not fit another.
    """

    objective: str = field(default="mine", metadata={"toml": "kind"})
    data: DataOptions = field(default_factory=DataOptions)
    mining: MiningOptions = field(default_factory=MiningOptions)

    def __post_init__(self) -> None:
        check_types(self)
        mining = self.mining
        check_present({"data.train": self.data.train, "mining.output": mining.output})
        check_positive("mining", mining, "negatives", "depth")
        if mining.skip < 0 or mining.skip + mining.negatives > mining.depth:
            raise InputError(
                f"ranks {mining.skip + 1} to {mining.depth} are fewer than {mining.negatives} "
                "candidates: raise mining.depth"
            )
        if mining.scores and not mining.cross_encoder:
            raise InputError("mining.scores needs mining.cross_encoder")

    @classmethod
    def parse(cls, raw: dict[str, Any], where: str = "config") -> MineRecipe:
        """Build a recipe from the sections of a TOML file.

        Args:
            raw: The sections, each a dictionary of options, as `tomllib` reads them.
            where: What error messages call the source of the sections, such as a file name.

        Returns:
            The recipe; options that `raw` does not set have their default values.

        Raises:
            InputError: If a section or option is unknown, missing or has a wrong value; the message
                names it.

        Example:
            >>> mining = {"output": "mined.jsonl", "negatives": 3}
            >>> MineRecipe.parse({"data": {"train": "rows.jsonl"}, "mining": mining}).mining.depth
            100
        """
        return cls("mine", **parse_sections(cls, "mine", raw, where))


@dataclass
class Mined:
    """Result of `mine`.

    Attributes:
        output: The .jsonl file.
        rows: Number of rows written.
        short: Number of rows left out because they had too few candidates.
    """

    output: Path
    rows: int = 0
    short: int = 0


def mine(
    recipe: MineRecipe,
    teacher: Teacher | None = None,
    progress: Callable[[int], None] | None = None,
) -> Mined:
    """Write training rows with hard negatives, found by searching an index of an encoder.

    Negatives that the model itself ranks high train better than random ones (Xiong et al. 2020,
    arXiv 2007.00808). Filters by margin keep out passages that are answers nobody labelled (Moreira
    et al. 2024, arXiv 2407.15831).

    Args:
        recipe: All options.
        teacher: Scores (query, document) pairs instead of `cross_encoder`: a list of B pairs in,
            (B,) numbers out.
        progress: Called with the number of rows done.

    Returns:
        The file and its number of rows. A row is {"query", "positive", "negatives"}, or with
        `mining.scores` {"query", "documents", "scores"}, the positive first.

    Raises:
        TypeError: If `recipe` is no MineRecipe.
        InputError: If data, encoder or options do not fit each other, or the output cannot be
            written.

    Example:
        >>> import json, tempfile
        >>> from mbert_retrieval.training import MineRecipe, mine
        >>> folder = tempfile.mkdtemp()
        >>> rows = [("open a file", "def open_file(path)"), ("read a file", "def read_file(path)")]
        >>> with open(f"{folder}/rows.jsonl", "w") as file:
        ...     for query, positive in rows:
        ...         _ = file.write(json.dumps({"query": query, "positive": positive}) + "\\n")
        >>> mining = {"output": f"{folder}/mined.jsonl", "negatives": 1}
        >>> mined = mine(MineRecipe.parse({
        ...     "data": {"train": f"{folder}/rows.jsonl"}, "mining": mining
        ... }))
        >>> mined.rows, json.loads(mined.output.read_text().splitlines()[0])["negatives"]
        (2, ['def read_file(path)'])
    """
    if not isinstance(recipe, MineRecipe):
        raise TypeError(
            f"recipe must be a MineRecipe, not {type(recipe).__name__}: see MineRecipe.parse"
        )
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
        raise InputError("the training data has no rows")
    positives: dict[str, set[str]] = {}
    for example in examples:
        positives.setdefault(example.query, set()).add(example.documents[0])
    encoder = load_encoder(options.encoder, options.head)
    passages = _distinct_passages(recipe, examples)
    texts = {passage.id: passage.content for passage in passages}
    mined = Mined(Path(options.output))
    partial = mined.output.with_name(f".{mined.output.name}.{os.getpid()}")
    try:
        mined.output.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as temporary, open(partial, "w", encoding="utf-8") as file:
            folder = options.index or Path(temporary) / "index"
            index = Index.build(folder, passages, encoder, engine=options.engine, lexical=False)
            for start in range(0, len(examples), QUERIES):
                batch = examples[start : start + QUERIES]
                queries = [example.query for example in batch]
                most = max(len(positives[query]) for query in queries)
                results = index.search_many(queries, options.depth + most, mode="vector")
                own = positive_scores(encoder, batch)
                for example, result, score in zip(batch, results, own, strict=True):
                    ranked = [(texts[id], float(value)) for id, value in result.ranking]
                    accepted = candidates(ranked, positives[example.query], float(score), options)
                    row = _row(example, accepted, teacher, options)
                    if row is None:
                        mined.short += 1
                    else:
                        file.write(json.dumps(row, ensure_ascii=False) + "\n")
                        mined.rows += 1
                if progress:
                    progress(start + len(batch))
        partial.replace(mined.output)
    except OSError as error:
        raise InputError(f"cannot write {mined.output}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
    return mined


def candidates(
    ranked: list[tuple[str, float]], positives: set[str], score: float, options: MiningOptions
) -> list[str]:
    """Return the texts of a ranking that pass all filters by rank and score, best first.

    Args:
        ranked: (text, score) of passages, best first.
        positives: Answers of the query, which are left out.
        score: Score of the row's own positive.
        options: The filters.

    Returns:
        Distinct texts.

    Example:
        >>> ranking = [("answer", 1.0), ("near", 0.98), ("far", 0.5)]
        >>> candidates(ranking, {"answer"}, 1.0, MiningOptions(relative_margin=0.05))
        ['far']
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
    """Return each query's score for its own positive, (rows,): inner product, or sum of MaxSim."""
    queries = encoder.encode_queries([example.query for example in examples])
    documents = encoder.encode_documents([example.documents[0] for example in examples])
    return np.array([(q @ d.T).max(1).sum() for q, d in zip(queries, documents, strict=True)])


def _row(
    example: Example, accepted: list[str], teacher: Teacher | None, options: MiningOptions
) -> dict[str, Any] | None:
    """The row to write, or None if too few candidates are left. `teacher` rejects more of them."""
    query, positive = example.query, example.documents[0]
    if teacher is None:
        if len(accepted) < options.negatives:
            return None
        return {"query": query, "positive": positive, "negatives": accepted[: options.negatives]}
    pairs = [(query, text) for text in (positive, *accepted)]
    scores = np.asarray(teacher(pairs), dtype=np.float64)
    if scores.shape != (len(pairs),):
        raise InputError(
            f"the cross-encoder returned scores of shape {scores.shape} for {len(pairs)} pairs: it "
            "must return one number per pair"
        )
    below = np.flatnonzero(scores[1:] <= scores[0] - options.cross_margin)[: options.negatives]
    if len(below) < options.negatives:
        return None
    negatives = [accepted[i] for i in below]
    if not options.scores:
        return {"query": query, "positive": positive, "negatives": negatives}
    row_scores = [float(scores[0]), *(float(scores[1 + i]) for i in below)]
    return {"query": query, "documents": [positive, *negatives], "scores": row_scores}


def _distinct_passages(recipe: MineRecipe, examples: list[Example]) -> list[Passage]:
    """The passages to mine from; of equal texts only the first."""
    distinct: dict[str, Passage] = {}
    for passage in _passages(recipe, examples):
        distinct.setdefault(passage.content, passage)
    return list(distinct.values())


def _passages(recipe: MineRecipe, examples: list[Example]) -> Iterator[Passage]:
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
