"""Results pages are written by the scripts that measured them: a table between two markers.

The header above each table names the machine: processor, instruction tier, threads, date, command.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

from mbert_retrieval import InputError
from mbert_retrieval.eval.files import write_text_file
from mbert_retrieval.native import kernels

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
CARD = ROOT / "mbert_retrieval" / "encoders" / "nano" / "README.md"
CPUINFO = Path("/proc/cpuinfo")
LOCAL_OPTIONS = ("--cache", "--data", "--index", "--work")  # folders of this machine
TIERS = (  # the first whose flags are all there
    ("AVX-512 VNNI", {"avx512bw", "avx512vl", "avx512_vnni"}),
    ("AVX-512", {"avx512f", "avx512bw"}),
    ("AVX2 with VNNI", {"avx2", "fma", "avx_vnni"}),
    ("AVX2", {"avx2", "fma"}),
    ("NEON with dot products", {"asimd", "asimddp"}),
    ("NEON", {"asimd"}),
)


def command_line() -> str:
    """Return the command that runs this script again, without the options of `LOCAL_OPTIONS`."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in LOCAL_OPTIONS:
        parser.add_argument(option)
    _, others = parser.parse_known_args()
    script = Path(sys.argv[0]).resolve()
    if script.is_relative_to(ROOT / "benchmarks"):
        module = ".".join(script.relative_to(ROOT).with_suffix("").parts)
    else:
        module = f"benchmarks.{script.stem}"
    return shlex.join(["python", "-m", module, *others])


def processor(cpuinfo: str) -> tuple[str, str]:
    """Return the name and the instruction tier of the processor that `/proc/cpuinfo` describes."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    flags = set(f"{fields.get('flags', '')} {fields.get('Features', '')}".split())
    tier = next((name for name, needed in TIERS if needed <= flags), "no known vector instructions")
    return fields.get("model name") or platform.machine(), tier


def machine(threads: int | None = None) -> str:
    """Return processor, instruction tier, our kernels' tier and threads, for a table's header.

    Args:
        threads: threads of the measurement; None for one per usable processor.
    """
    name, tier = processor(CPUINFO.read_text() if CPUINFO.is_file() else "")
    threads = threads or len(os.sched_getaffinity(0))
    own = f"kernels {kernels.TIER}"
    return f"{name} ({tier}; {own}), {threads} thread{'s' if threads > 1 else ''}"


def header(threads: int | None = None) -> str:
    """Return the line that says where, when and by which command a table was measured."""
    today = datetime.now(UTC).date().isoformat()
    return f"Measured on {today}: {machine(threads)}, by `{command_line()}`."


def write_table(
    name: str, table: str, page: Path | None = None, threads: int | None = None
) -> None:
    """Write the header and the table between `<!-- NAME:begin -->` and `<!-- NAME:end -->`.

    On a page with markers for the tier of the kernels in use, `<!-- NAME-TIER:begin -->` and so on,
    it goes between those: several tiers are side by side.

    Args:
        name: which markers.
        table: Markdown.
        page: the page to change; `docs/results/NAME.md` if None.
        threads: see `machine`.

    Raises:
        InputError: if the page has no such markers; it is left as it was.
    """
    page = page or RESULTS / f"{name}.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    if f"<!-- {name}-{kernels.TIER}:begin -->" in text:
        name = f"{name}-{kernels.TIER}"
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, has_begin, rest = text.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise InputError(f"{page} has no lines {begin} and {end} to put the table between")
    write_text_file(page, f"{before}{begin}\n{header(threads)}\n\n{table}\n{end}{after}")
