"""StackOverflow-QA of CoIR (Li et al. 2024), the ModernBERT paper's StackQA."""

from __future__ import annotations

from . import modernbert_paper
from .spec import Suite, Task, mteb_data

SUITE = Suite(
    "stackqa",
    "StackOverflow-QA: questions to answers, text and code mixed",
    [
        Task(
            "stackoverflow-qa",
            mteb_data("mteb/StackOverflowQA", "7b46f5ebd2365278c1bb025986dda2fee893bbf5"),
            documents=19931,
            queries=1994,
        )
    ],
    protocol=(
        "Title and text joined by a space. The encoder's own "
        "lengths and prompts (CoIR's sample wrapper cuts at 512 tokens and adds prompts; that is "
        "not done here)."
    ),
    published=modernbert_paper.rows("stackqa", cell="stackoverflow-qa"),
)
