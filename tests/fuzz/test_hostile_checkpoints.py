"""Encoder folders with mutated settings and damaged files: loaded, or one clear error."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from random import Random

import pytest

from support.fuzzing import chance, record, trials
from support.hostile import KINDS, damage, dumps, mutate
from support.trial_process import TrialProcess

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3600)]

# a pipe would be waited for, and links are how a hub's cache stores its files
DAMAGES = [kind for kind in KINDS if kind not in ("pipe", "link")]


def edit_json(folder: Path, random: Random) -> str:
    file = random.choice(sorted(folder.rglob("*.json")))
    document = json.loads(file.read_bytes())
    for _ in range(random.choice([1, 1, 3])):
        document = mutate(document, random)
    file.write_bytes(dumps(document).encode("utf-8", "surrogatepass"))
    return f"{file.relative_to(folder)} = {file.read_bytes()[:300]!r}"


def edit_weights_header(folder: Path, random: Random) -> str:
    file = random.choice(sorted(folder.rglob("*.safetensors")))
    data = file.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = mutate(json.loads(data[8 : 8 + size]), random)
    raw = dumps(header).encode("utf-8", "surrogatepass")
    claimed = random.choice([len(raw)] * 8 + [0, len(raw) + 1, 2**40, 2**64 - 1])
    file.write_bytes(struct.pack("<Q", claimed) + raw + data[8 + size :])
    return f"{file.relative_to(folder)}, header of {claimed}"


def damage_file(folder: Path, random: Random) -> str:
    return damage(folder, random, DAMAGES)


@pytest.fixture(scope="module")
def loader():
    with TrialProcess(["support.checkpoint_trial", "torch", "tokenizers"]) as process:
        yield process


@pytest.mark.parametrize("edit", [edit_json, edit_weights_header, damage_file])
def test_checkpoints(tmp_path, tiny_encoder_folder, loader, edit):
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_encoder_folder, folder)
    whole = loader.run("support.checkpoint_trial:use", str(folder))
    assert whole == ("returned", "answers")
    problems = []
    for trial in range(trials(80)):
        shutil.rmtree(folder)
        shutil.copytree(tiny_encoder_folder, folder)
        what = edit(folder, chance(edit.__name__, trial))
        outcome = loader.run("support.checkpoint_trial:use", str(folder))
        record(
            f"checkpoints: {edit.__name__.replace('_', ' ')}",
            outcome.value if outcome.kind == "returned" else outcome.kind,
        )
        if outcome.kind != "returned":
            problems.append(f"trial {trial} ({what}): {outcome.kind} {outcome.value}")
    assert not problems, "\n".join([f"{len(problems)} problems", *problems])
