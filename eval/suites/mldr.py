"""MLDR, English (Chen et al. 2024, BGE-M3): questions to long documents."""

from __future__ import annotations

from . import modernbert_paper
from .spec import Suite, Task, mteb_data

SUITE = Suite(
    "mldr",
    "MLDR-en: questions to documents of thousands of words",
    [
        Task(
            "mldr-en",
            mteb_data(
                "mteb/MultiLongDocRetrieval",
                "837028901907a7d419b4ab906f28e011ce1cc824",
                "en",
            ),
            documents=200_000,
            queries=800,
        )
    ],
    protocol=(
        "200,000 English documents, split test. Documents are read up to 8,192 tokens. Out of "
        "domain: trained on short passages alone; in domain: fine-tuned on MLDR's training set "
        "as well. The encoder's own prompts."
    ),
    document_length={"late": 8192, "dense": 8192},
    published=[
        *modernbert_paper.rows("mldr dpr out of domain", "DPR out of domain", "mldr-en"),
        *modernbert_paper.rows("mldr dpr in domain", "DPR in domain", "mldr-en"),
        *modernbert_paper.rows("mldr colbert out of domain", "ColBERT out of domain", "mldr-en"),
    ],
)
