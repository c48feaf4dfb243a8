"""Types that describe a benchmark: its data sets, its protocol, and published scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...errors import InputError

MEAN = "mean"


@dataclass(frozen=True)
class HubData:
    """A judged collection on the Hugging Face hub.

    Args:
        repo: Name of the repository.
        revision: The commit that users of the benchmark evaluate on.
        corpus: Config and split of the documents. If a config lacks the split and has only one,
            that one is taken, as in MTEB's loader.
        queries: Config and split of the queries.
        qrels: Config and split of the qrels.
        where: Values by column; rows of any table with other values are left out.
        title: Whether documents have their titles (CoIR's protocol drops them).
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

    Args:
        name: Name in file names, options and tables.
        data: Where the data set is on the hub.
        split: Name of the qrels split.
        group: Column of the published table that is the mean of several tasks (CQADupstack's
            forums); empty if the task has a column of its own.
        documents: Number of documents, None if unknown.
        queries: Number of judged queries, None if unknown.
        drop_own_id: Whether a document with the id of the query is removed from its results (BEIR).
        query_length: Tokens of a query that late interaction reads; None for the encoder's own.
        beir: Name of BEIR's own archive and the folder in it; None if there is none.
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
        """The column of the published table."""
        return self.group or self.name


@dataclass(frozen=True)
class ClassificationTask:
    """One data set on which a network is fine-tuned.

    Args:
        name: Name in file names, options and tables.
        repo: Name of the repository on the hub.
        revision: Its commit or branch.
        config: Name of the config.
        texts: The column of a text, or the two columns of a pair.
        labels: Number of classes, 1 for a score.
        measure: "accuracy", "matthews" or "spearman".
        split: The split that is scored; "train" is trained on.
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
        """The column of the published table."""
        return self.name


@dataclass(frozen=True)
class Published:
    """A published row of scores.

    Args:
        row: Name of the row, such as "ColBERT ModernBERT-base".
        scores: The main measure, between 0 and 1, by column or "mean".
        source: The publication.
    """

    row: str
    scores: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class Suite:
    """A benchmark.

    Args:
        name: Name on the command line and in file names.
        title: Title for tables.
        tasks: The data sets.
        protocol: What one must know to compare scores: fields, lengths, prompts, dropped
            documents, averages.
        measures: Names of the measures; published scores are in the first one.
        document_length: Tokens read of a document by the encoder's kind; by default the encoder's
            own length.
        published: Published rows.
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
        """The measure of published scores."""
        return self.measures.split()[0]

    @property
    def columns(self) -> list[str]:
        """The columns of the published table, in order."""
        return list(dict.fromkeys(task.column for task in self.tasks))

    def select(self, names: str | None) -> list[Task]:
        """Select retrieval tasks.

        Args:
            names: Names of tasks or groups, separated by commas; None for all.

        Returns:
            The tasks, in the order of the suite.

        Raises:
            InputError: A name is unknown, or the suite has no retrieval tasks.
        """
        tasks = [task for task in self._select(names) if isinstance(task, Task)]
        if not tasks:
            raise InputError(f"{self.name} is no retrieval benchmark: run it with mbert-eval glue")
        return tasks

    def classification(self, names: str | None) -> list[ClassificationTask]:
        """Select classification tasks, as `select` does retrieval tasks."""
        return [task for task in self._select(names) if isinstance(task, ClassificationTask)]

    def _select(self, names: str | None) -> list[Task | ClassificationTask]:
        if names is None:
            return list(self.tasks)
        chosen = [name.strip() for name in names.split(",") if name.strip()]
        known = {task.name for task in self.tasks} | set(self.columns)
        for name in chosen:
            if name not in known:
                raise InputError(
                    f"suite {self.name} has no data set {name!r}: choose from "
                    f"{', '.join(task.name for task in self.tasks)}"
                )
        return [task for task in self.tasks if {task.name, task.column} & set(chosen)]

    def row(self, name: str) -> Published:
        """Return a published row by its name; raise InputError if there is none."""
        for published in self.published:
            if published.row == name:
                return published
        rows = ", ".join(repr(published.row) for published in self.published) or "none"
        raise InputError(f"suite {self.name} has no published row {name!r}; it has {rows}")


def mteb_data(repo: str, revision: str, subset: str = "", **options: object) -> HubData:
    """Return the location of a data set in the layout of MTEB and CoIR.

    Args:
        repo: Name of the repository.
        revision: Its commit.
        subset: Prefix of the configs, which are then SUBSET-corpus, SUBSET-queries and
            SUBSET-qrels; without it they are corpus, queries and default.
        **options: "split" of all tables ("test" by default), and other fields of `HubData`.

    Returns:
        The location.
    """
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
    """Parse scores as papers print them ("24.3 51.3 -", "-" for none) to fractions by column."""
    numbers = values.split()
    return {
        column: round(float(number) / 100, 6)
        for column, number in zip(columns, numbers, strict=True)
        if number != "-"
    }
