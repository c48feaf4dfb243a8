"""Judged collections that are not part of the repository: BEIR folders below `$MBERT_DATA`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("MBERT_DATA", "no-such-folder"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no test collections: set MBERT_DATA")
