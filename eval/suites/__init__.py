"""Benchmarks, one file each."""

from __future__ import annotations

from ...errors import InputError
from . import beir, codesearchnet, cosqa, glue, longembed, mldr, nanobeir, stackqa
from .spec import MEAN, ClassificationTask, HubData, Published, Suite, Task

__all__ = [
    "MEAN",
    "SUITES",
    "ClassificationTask",
    "HubData",
    "Published",
    "Suite",
    "Task",
    "find_suite",
]

SUITES = {
    suite.name: suite
    for suite in (
        beir.SUITE,
        nanobeir.SUITE,
        mldr.SUITE,
        codesearchnet.SUITE,
        codesearchnet.CCR,
        codesearchnet.ORIGINAL,
        stackqa.SUITE,
        cosqa.SUITE,
        longembed.SUITE,
        glue.SUITE,
    )
}


def find_suite(name: str) -> Suite:
    """Return a suite by its name.

    Args:
        name: A name that `mbert-eval list` shows.

    Returns:
        The suite.

    Raises:
        InputError: There is no such suite.

    Example:
        >>> find_suite("nanobeir").title
        "NanoBEIR: 13 small samples of BEIR's collections"
    """
    if name not in SUITES:
        raise InputError(f"no suite {name!r}: choose from {', '.join(SUITES)}")
    return SUITES[name]
