"""The fuzz tests: `make fuzz`. Their outcomes are printed as a table at the end."""

from __future__ import annotations

from support import fuzzing


def pytest_terminal_summary(terminalreporter):
    if fuzzing.outcomes:
        terminalreporter.section(f"fuzz (FUZZ_SCALE={fuzzing.SCALE:g} FUZZ_SEED={fuzzing.SEED})")
        for line in fuzzing.table():
            terminalreporter.write_line(line)
