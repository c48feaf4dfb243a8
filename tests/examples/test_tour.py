"""The tour of the library runs as it is, and its first answers are right."""

from __future__ import annotations

import runpy
from pathlib import Path

TOUR = Path(__file__).resolve().parents[2] / "examples" / "notebooks" / "tour.py"


def test_the_tour_runs(capsys):
    runpy.run_path(str(TOUR), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("<Index ")
    assert lines[1].split()[-1] in ("Retries", "fetch")
    assert "['net.py:1', 'dates.py:1']" in lines
    assert "3 passages" in lines
