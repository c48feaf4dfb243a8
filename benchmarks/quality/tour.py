"""Twenty questions about Python's standard library and Django, and what comes first.

    python -m benchmarks.quality.tour

indexes both in one go with `mbert-index build` (the standard library of the Python that runs this,
without tests and site-packages; Django downloaded by pip), asks each question with `mbert-search
query`, and writes the first answers to docs/results/tour.md. Which passages answer a question is
said here, by hand. What was built stays in the work folder and is not built again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.inputs import DJANGO, LEFT_OUT, django, index_of_nano
from benchmarks.results_page import ROOT, write_table

SHOWN = 10  # answers that are looked at


@dataclass(frozen=True)
class Question:
    """right: the passages that answer it, as glob patterns of "path name"."""

    text: str
    right: tuple[str, ...]

    def is_answered_by(self, path: str, name: str) -> bool:
        return any(fnmatchcase(f"{path} {name}", pattern) for pattern in self.right)


QUESTIONS = [
    Question(
        "run a command and capture its output",
        ("subprocess.py run", "subprocess.py check_output", "subprocess.py getstatusoutput"),
    ),
    Question(
        "temporary directory that is removed afterwards", ("tempfile.py TemporaryDirectory*",)
    ),
    Question(
        "parse an ISO 8601 date",
        (
            "datetime.py *fromisoformat",
            "datetime.py _parse_isoformat_*",
            "django/utils/dateparse.py parse_date*",
        ),
    ),
    Question(
        "cache the results of a function, dropping the least recently used",
        ("functools.py lru_cache", "functools.py _lru_cache_wrapper"),
    ),
    Question("OrderedDict.move_to_end", ("collections/__init__.py OrderedDict.move_to_end",)),
    Question(
        "TypeError: Object of type set is not JSON serializable",
        ("json/encoder.py JSONEncoder.default",),
    ),
    Question(
        "RuntimeError: This event loop is already running",
        ("asyncio/base_events.py BaseEventLoop._check_running",),
    ),
    Question("visit every file below a folder", ("os.py walk", "os.py fwalk", "os.py _walk*")),
    Question(
        "show the differences between two texts line by line",
        (
            "difflib.py unified_diff",
            "difflib.py ndiff",
            "difflib.py context_diff",
            "difflib.py Diff*",
        ),
    ),
    Question(
        "list what is in a zip archive",
        (
            "zipfile.py ZipFile.namelist",
            "zipfile.py ZipFile.infolist",
            "zipfile.py ZipFile.printdir",
        ),
    ),
    Question("HTTPRedirectHandler", ("urllib/request.py HTTPRedirectHandler*",)),
    Question(
        "log in to a mail server before sending", ("smtplib.py SMTP.login", "smtplib.py SMTP.auth*")
    ),
    Question(
        "how are passwords hashed before they are stored",
        (
            "django/contrib/auth/hashers.py make_password",
            "django/contrib/auth/hashers.py *PasswordHasher*",
        ),
    ),
    Question(
        "CSRF verification failed. Request aborted.",
        ("django/views/csrf.py csrf_failure", "django/middleware/csrf.py CsrfViewMiddleware*"),
    ),
    Question(
        "where is the session cookie set on the response",
        ("django/contrib/sessions/middleware.py SessionMiddleware*",),
    ),
    Question("select_related", ("django/db/models/query.py QuerySet.select_related",)),
    Question(
        "which folders are templates looked for in",
        (
            "django/template/loaders/filesystem.py Loader.get_*",
            "django/template/loaders/app_directories.py *",
            "django/template/autoreload.py get_template_directories",
            "django/template/utils.py get_app_template_dirs",
            "django/template/backends/base.py BaseEngine.template_dirs",
        ),
    ),
    Question(
        "it is impossible to add a non-nullable field without specifying a default",
        ("django/db/migrations/questioner.py *InteractiveMigrationQuestioner.ask_not_null_*",),
    ),
    Question(
        "split a queryset into pages",
        ("django/core/paginator.py Paginator*", "*MultipleObjectMixin.paginate_queryset"),
    ),
    Question(
        "undo a migration that was applied",
        (
            "django/db/migrations/executor.py MigrationExecutor.unapply_migration",
            "django/db/migrations/executor.py MigrationExecutor._migrate_all_backwards",
            "django/db/migrations/migration.py Migration.unapply",
        ),
    ),
]


def called(program: str, *arguments: str) -> list[dict[str, Any]]:
    """What one of the commands prints, as JSON."""
    command = [str(Path(sys.executable).with_name(program)), *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, default=ROOT / ".mbert" / "tour")
    work = parser.parse_args().work.resolve()
    library, package = Path(sysconfig.get_path("stdlib")).resolve(), django(work)
    index = index_of_nano(work, "tour")
    record = index.with_suffix(".json")
    if not record.exists():
        leaving_out = [f"--exclude={pattern}" for pattern in LEFT_OUT]
        sources = [str(library), str(package)]
        (built,) = called("mbert-index", "build", *sources, "--index", str(index), *leaving_out)
        record.write_text(json.dumps(built))
    built = json.loads(record.read_text())
    rows, ranks, seconds = [], [], []
    for question in QUESTIONS:
        options = ("query", question.text, "--index", str(index), "-k", str(SHOWN))
        started = time.perf_counter()
        hits = called("mbert-search", *options)
        seconds.append(time.perf_counter() - started)
        answers = [(short(hit["path"], (library, work)), hit["metadata"]["name"]) for hit in hits]
        rank = next((n for n, a in enumerate(answers, 1) if question.is_answered_by(*a)), None)
        ranks.append(rank or SHOWN + 1)
        where = f"`{answers[0][0]}:{hits[0]['start_line']}` {answers[0][1]}"
        rows.append(f"| {question.text} | {where} | {rank or f'not in {SHOWN}'} |")
        print(rows[-1], *answers[1:], sep="\n    ", flush=True)
    within = {depth: sum(rank <= depth for rank in ranks) for depth in (1, 3, SHOWN)}
    head = (
        f"CPython {sys.version.split()[0]}'s standard library and "
        f"{DJANGO}, {built['passages']:,} passages, indexed in {built['seconds'] / 60:.0f} minutes "
        f"by one command; a query takes {median(seconds):.2f} s, the whole process. A right "
        f"answer is the first for {within[1]} of {len(ranks)} questions, among three for "
        f"{within[3]}, among {SHOWN} for {within[SHOWN]}.\n\n"
        "| question | first answer | first right one |\n|---|---|--:|\n"
    )
    write_table("tour", head + "\n".join(rows))


def short(path: str, folders: Sequence[Path]) -> str:
    """A hit's path below one of the folders."""
    full = Path("/", path)
    return next(
        full.relative_to(folder).as_posix() for folder in folders if full.is_relative_to(folder)
    )


if __name__ == "__main__":
    main()
