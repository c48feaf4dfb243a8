"""CodeSearchNet (Husain et al. 2019, arXiv 1909.09436) in three forms.

CoIR's (code to docstring), CoIR's CCR (start of a function to its rest), and the original direction
(docstring to code).
"""

from __future__ import annotations

from . import modernbert_paper
from .spec import Suite, Task, mteb_data

# language: judged queries, documents of CoIR's form, documents of CCR
_SIZES = {
    "python": (14918, 280310, 280652),
    "javascript": (3291, 64854, 65201),
    "go": (8122, 182440, 182735),
    "ruby": (1261, 27570, 27588),
    "java": (10955, 180866, 181061),
    "php": (14014, 267725, 268237),
}

SUITE = Suite(
    "codesearchnet",
    "CodeSearchNet as in CoIR: code to its docstring, 6 languages",
    [
        Task(
            f"codesearchnet-{language}",
            mteb_data(
                "CoIR-Retrieval/CodeSearchNet",
                "4adc7bc41202b5c13543c9c886a25f340634dab3",
                language,
                title=False,
            ),
            documents=documents,
            queries=queries,
        )
        for language, (queries, documents, _) in _SIZES.items()
    ],
    protocol=(
        "The query is a function without its docstring, the document a docstring. CoIR's protocol: "
        "titles are dropped; the mean is over the 6 languages, each counting once. The encoder's "
        "own lengths and prompts (CoIR's sample wrapper cuts at 512 tokens and adds "
        '"query: " and "passage: "; that is not done here).'
    ),
    published=modernbert_paper.rows("codesearchnet"),
)

CCR = Suite(
    "codesearchnet-ccr",
    "CodeSearchNet-CCR of CoIR: the start of a function to its rest, 6 languages",
    [
        Task(
            f"codesearchnet-ccr-{language}",
            mteb_data(
                "CoIR-Retrieval/CodeSearchNet-ccr",
                "6e1effa2c03723c5fde48ee912b5ee08d4f211e8",
                language,
                title=False,
            ),
            documents=documents,
            queries=queries,
        )
        for language, (queries, _, documents) in _SIZES.items()
    ],
    protocol="As codesearchnet: titles dropped, mean over 6 languages, the encoder's own lengths.",
)

ORIGINAL = Suite(
    "codesearchnet-original",
    "CodeSearchNet in its original direction: docstring to code, 1,000 each of 6 languages",
    [
        Task(
            f"codesearchnet-original-{language}",
            mteb_data(
                "mteb/CodeSearchNetRetrieval",
                "68e8f0731a656fa4bd5b7c81936d95ad48a39bfe",
                language,
            ),
            documents=1000,
            queries=1000,
        )
        for language in _SIZES
    ],
    protocol=(
        "MTEB's sample of 1,000 functions a language; the query is the docstring. Mean over the 6 "
        "languages. The encoder's own lengths and prompts."
    ),
)
