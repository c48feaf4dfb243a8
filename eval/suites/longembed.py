"""LongEmbed (Zhu et al. 2024): retrieval from long documents, four real and two made tasks."""

from __future__ import annotations

from .spec import HubData, Suite, Task

REPO, REVISION = "dwzhu/LongEmbed", "6e346642246bfb4928c560ee08640dc84d074e8c"
LENGTHS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768)  # of needle and passkey, in tokens


def _data(config: str, length: int | None = None) -> HubData:
    where = {} if length is None else {"context_length": length}
    return HubData(
        REPO,
        REVISION,
        (config, "corpus"),
        (config, "queries"),
        (config, "qrels"),
        where=where,
        title=False,
    )


SUITE = Suite(
    "longembed",
    "LongEmbed: long documents; NarrativeQA, QMSum, 2WikiMQA, SummScreenFD, needle and passkey",
    [
        Task("narrativeqa", _data("narrativeqa")),
        Task("qmsum", _data("qmsum")),
        Task("2wikimqa", _data("2wikimqa")),
        Task("summ-screen-fd", _data("summ_screen_fd")),
        *(
            Task(f"{name}-{length}", _data(name, length), group=name, documents=100, queries=50)
            for name in ("needle", "passkey")
            for length in LENGTHS
        ),
    ],
    protocol=(
        "Documents are read up to 16,384 tokens or what the encoder has positions for "
        "(GTE-ModernColBERT's setting). Needle and passkey are the mean over their 8 lengths; "
        "published tables often give accuracy at 1 for these two, and nDCG@10 for the others. "
        "The mean is over the 6. The encoder's own prompts."
    ),
    measures="nDCG@10 P@1 R@100",
    document_length={"late": 16384, "dense": 16384},
)
