"""What a benchmark is: its data sets, where they come from, how they are measured, and the scores
that others published on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...errors import InputError

MEAN = "mean"


@dataclass(frozen=True)
class HubData:
    """A judged collection on the Hugging Face hub.

    repo, revision: the data set and the commit of it that the benchmark's users evaluate on.
    corpus, queries, qrels: (config, split) of each table. Where a config lacks the split and has
        only one, that one is meant, as in MTEB's own loader.
    where: column to value; rows of any table that differ are left out.
    title: documents keep their title (CoIR's protocol drops it).
    """

    repo: str
    revision: str
    corpus: tuple[str, str]
    queries: tuple[str, str]
    qrels: tuple[str, str]
    where: Mapping[str, int] = field(default_factory=dict)
    title: bool = True


@dataclass(frozen=True)
class Task:
    """One data set of a suite.

    name: in file names, options and tables; group: the data set of the paper's table that it is a
        part of (CQADupstack's forums), its own name where there is no such thing.
    split: whose judgements; documents, queries: how many there are, None where nobody says.
    drop_own_id: a document with the query's own id is no answer (BEIR's rule).
    query_length: tokens of a query that late interaction reads; None: the encoder's own.
    beir: its zip among BEIR's own, and the folder inside it; None where there is none.
    """

    name: str
    data: HubData
    split: str = "test"
    group: str = ""
    documents: int | None = None
    queries: int | None = None
    drop_own_id: bool = False
    query_length: int | None = None
    beir: tuple[str, str] | None = None

    @property
    def column(self) -> str:
        """The column of the paper's table."""
        return self.group or self.name


@dataclass(frozen=True)
class ClassificationTask:
    """One data set for which a network is fine-tuned: its split "train" trains, `split` measures.

    config: on the hub; texts: the columns of one text or of a pair; labels: how many classes, 1 for
    a score. measure: "accuracy", "matthews" or "spearman".
    """

    name: str
    repo: str
    revision: str
    config: str
    texts: tuple[str, ...]
    labels: int
    measure: str
    split: str = "validation"

    @property
    def column(self) -> str:
        """The column of the paper's table."""
        return self.name


@dataclass(frozen=True)
class Published:
    """A row of somebody's table.

    row: what `--published` names it, such as "ColBERT ModernBERT-base".
    scores: column (or "mean") to the main measure, as a fraction.
    """

    row: str
    scores: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class Suite:
    """A benchmark.

    protocol: what a reader must know to compare: fields, lengths, prompts, what is dropped, how
        averages are taken.
    measures: the first is the one that published scores are in.
    document_length: tokens of a document by the encoder's kind; those left out: the encoder's own.
    """

    name: str
    title: str
    tasks: Sequence[Task | ClassificationTask]
    protocol: str
    measures: str = "nDCG@10 R@100 RR@10"
    document_length: Mapping[str, int] = field(default_factory=dict)
    published: Sequence[Published] = ()

    @property
    def main_measure(self) -> str:
        return self.measures.split()[0]

    @property
    def columns(self) -> list[str]:
        """The columns of the paper's table, in order."""
        return list(dict.fromkeys(task.column for task in self.tasks))

    def select(self, names: str | None) -> list[Task]:
        """The retrieval tasks that a comma-separated list names, by task or by group; all for None.

        Raises InputError for a name that is neither, and for a suite of other tasks.
        """
        tasks = [task for task in self._select(names) if isinstance(task, Task)]
        if not tasks:
            raise InputError(f"{self.name} is no retrieval benchmark: mbert-eval glue runs it")
        return tasks

    def classification(self, names: str | None) -> list[ClassificationTask]:
        """The classification tasks, as `select`."""
        return [task for task in self._select(names) if isinstance(task, ClassificationTask)]

    def _select(self, names: str | None) -> list[Task | ClassificationTask]:
        if names is None:
            return list(self.tasks)
        wanted = [name.strip() for name in names.split(",") if name.strip()]
        known = {task.name for task in self.tasks} | set(self.columns)
        for name in wanted:
            if name not in known:
                raise InputError(
                    f"suite {self.name} has no data set {name!r}: choose from "
                    f"{', '.join(task.name for task in self.tasks)}"
                )
        return [task for task in self.tasks if {task.name, task.column} & set(wanted)]

    def row(self, name: str) -> Published:
        """A published row. Raises InputError when there is none of that name."""
        for published in self.published:
            if published.row == name:
                return published
        rows = ", ".join(repr(published.row) for published in self.published) or "none"
        raise InputError(f"suite {self.name} has no published row {name!r}; it has {rows}")


def mteb_data(repo: str, revision: str, subset: str = "", **options: object) -> HubData:
    """MTEB's and CoIR's layout: configs corpus, queries and default, or SUBSET-corpus, -queries and
    -qrels."""
    prefix = f"{subset}-" if subset else ""
    split = str(options.pop("split", "test"))
    return HubData(
        repo,
        revision,
        corpus=(f"{prefix}corpus", split),
        queries=(f"{prefix}queries", split),
        qrels=(f"{prefix}qrels" if subset else "default", split),
        **options,  # type: ignore[arg-type]
    )


def percent(columns: Sequence[str], values: str) -> dict[str, float]:
    """Scores as papers print them ("24.3 51.3 ...", "-" for none) to fractions by column."""
    numbers = values.split()
    return {
        column: round(float(number) / 100, 6)
        for column, number in zip(columns, numbers, strict=True)
        if number != "-"
    }
