"""CoSQA (Huang et al. 2021): web queries to Python functions, CoIR's form."""

from __future__ import annotations

from .spec import Suite, Task, mteb_data

SUITE = Suite(
    "cosqa",
    "CoSQA as in CoIR: web queries to Python functions",
    [
        Task(
            "coir-cosqa",
            mteb_data(
                "CoIR-Retrieval/cosqa", "bc5efb7e9d437246ce393ed19d772e08e4a79535", title=False
            ),
            documents=20604,
            queries=500,
        )
    ],
    protocol=(
        "CoIR's protocol: titles are dropped. The encoder's own lengths and prompts. Not the "
        "same corpus as the original retrieval split (6,267 functions), whose scores are higher."
    ),
)
