"""Write docs/images/search.svg: a search in the terminal, from a real run.

    make demo && python docs/generate_terminal.py --index .demo/*.index

Runs the commands below on a pseudo-terminal and records what they print.
"""

from __future__ import annotations

import argparse
import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PAGE = Path(__file__).resolve().parent / "images" / "search.svg"
COLUMNS = 96
QUERIES = ('"cancel a task after a timeout" -k 1', '"follow a redirect but not forever" -k 1')


def printed(command: list[str]) -> str:
    """Return what a command prints on a terminal of COLUMNS, with its colours."""
    main, end = pty.openpty()
    environment = os.environ | {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        command, stdout=end, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        os.close(end)
        output = b""
        while True:
            try:
                part = os.read(main, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            output += part
    os.close(main)
    if process.returncode:
        sys.exit(f"{command} ended with {process.returncode}")
    return output.decode().replace("\r\n", "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--index", required=True)
    index = parser.parse_args().index
    program = str(Path(sys.executable).with_name("mbert-search"))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for query in QUERIES:
        text, options = re.fullmatch(r'"(.*)"(.*)', query).groups()
        console.print(Text(f"$ mbert-search query {query}", style="bold"))
        output = printed(
            [program, "query", text, *options.split(), "--no-update", "--index", index]
        )
        console.print(Text.from_ansi(output.rstrip()))
        console.print()
    drawing = console.export_svg(title="mbert-search")
    drawing = re.sub(r"@font-face \{.*?\}", "", drawing, flags=re.DOTALL)  # no fonts of the network
    PAGE.write_text(drawing.replace("Fira Code", "DejaVu Sans Mono"), encoding="utf-8")


if __name__ == "__main__":
    main()
