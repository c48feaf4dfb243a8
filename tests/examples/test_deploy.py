"""The unit and the Dockerfile name files, options and extras that exist."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mbert_retrieval.cli import index, search
from mbert_retrieval.serve.run import STOP_SECONDS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "examples" / "deploy"
UNIT = DEPLOY / "mbert-search.service"
PROGRAMS = {"mbert-index": index.app, "mbert-search": search.app}


def settings(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def entrypoint() -> str:
    """The shell command of the container."""
    line = re.search(r"^ENTRYPOINT (.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    shell, option, command, name = json.loads(line[1])
    assert (shell, option, name) == ("sh", "-c", "serve")
    return command


def commands() -> list[str]:
    container = [part.removeprefix(" exec ").strip() for part in entrypoint().split("&&")]
    return [*settings("ExecStart"), *settings("ExecStartPre"), *container]


@pytest.mark.parametrize("line", commands(), ids=lambda line: line.split("/")[-1][:30])
def test_commands_have_the_options_that_are_named(line):
    program, command, *arguments = (word for word in shlex.split(line) if word != "$@")
    parsed = PROGRAMS[Path(program).name].commands[command]
    parsed.make_context(command, arguments)  # an error for what does not exist


def test_the_unit_waits_until_the_service_has_stopped():
    assert int(settings("TimeoutStopSec")[0]) > STOP_SECONDS


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path):
    unit = tmp_path / UNIT.name
    text = re.sub(r"/opt/mbert/bin/mbert-\w+", sys.executable, UNIT.read_text())
    unit.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    own = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert own == []


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_rates_the_unit_as_hardened():
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_hadolint_accepts_the_dockerfile():
    hadolint = Path(sys.prefix, "bin", "hadolint")
    program = hadolint if hadolint.exists() else shutil.which("hadolint")
    if not program:
        pytest.skip("needs hadolint")
    done = subprocess.run([program, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_container_copies_what_the_package_is_built_from():
    text = (DEPLOY / "Dockerfile").read_text()
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
        for name in line.split()[:-1]
    }
    assert all((ROOT / name).exists() for name in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = project["tool"]["setuptools"]["package-dir"].values()
    assert {"pyproject.toml", *(Path(folder).parts[0] for folder in folders)} <= copied
    for extra in re.findall(r"\.\[(\w+)\]", text):
        assert extra in project["project"]["optional-dependencies"]
