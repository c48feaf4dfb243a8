"""Table 1 of the ModernBERT paper (Warner et al. 2024, arXiv 2412.13663).

It has one row per model and one column per benchmark and way of training.
"""

from __future__ import annotations

from .spec import MEAN, Published

SOURCE = "Warner et al. 2024 (ModernBERT), arXiv 2412.13663"

COLUMNS = (
    "beir dpr",
    "mldr dpr out of domain",
    "mldr dpr in domain",
    "beir colbert",
    "mldr colbert out of domain",
    "glue",
    "codesearchnet",
    "stackqa",
)

_TABLE = """
BERT-base           38.9 23.9 32.2 49.0 28.1 84.7 41.2 59.5
RoBERTa-base        37.7 22.9 32.8 48.7 28.2 86.4 44.3 59.6
DeBERTaV3-base      20.2  5.4 13.4 47.1 21.9 88.1 17.5 18.6
NomicBERT           41.0 26.7 30.3 49.9 61.3 84.0 41.6 61.4
GTE-en-MLM-base     41.4 34.3 44.4 48.2 69.3 85.6 44.9 71.4
ModernBERT-base     41.6 27.4 44.0 51.3 80.2 88.4 56.4 73.6
BERT-large          38.9 23.3 31.7 49.5 28.5 85.2 41.6 60.8
RoBERTa-large       41.4 22.6 36.1 49.8 28.8 88.9 47.3 68.1
DeBERTaV3-large     25.6  7.1 19.2 46.7 23.0 91.4 21.2 19.7
GTE-en-MLM-large    42.5 36.4 48.9 50.7 71.3 87.6 40.5 66.9
ModernBERT-large    44.0 34.3 48.6 52.4 80.4 90.4 59.5 83.9
"""


def column(name: str) -> dict[str, float]:
    """Return the scores of a column, between 0 and 1, by model."""
    position = COLUMNS.index(name)
    rows = [line.split() for line in _TABLE.strip().splitlines()]
    return {model: round(float(values[position]) / 100, 6) for model, *values in rows}


def rows(name: str, label: str = "", cell: str = MEAN) -> list[Published]:
    """Return a column as published rows "LABEL MODEL" with one cell each."""
    return [
        Published(f"{label} {model}".strip(), {cell: score}, SOURCE)
        for model, score in column(name).items()
    ]
