"""Damage of files, and hostile values in JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from typing import Any

WORDS = (0, 1, 2, 127, 128, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
KINDS = ["bits"] * 6 + ["bytes"] * 4 + ["word"] * 6 + ["range"] * 4 + ["cut"] * 2
KINDS += ["extend", "other file", "remove", "folder", "link", "pipe"]


def damage(index: Path, random: Random, kinds: list[str] = KINDS) -> str:
    """Damage one file. Return what was done."""
    files = sorted(path for path in index.rglob("*") if path.is_file())
    file = random.choice(files)
    name = file.relative_to(index)
    content = bytearray(file.read_bytes())
    kind = random.choice(kinds)
    if kind in ("bits", "bytes", "word", "range") and not content:
        kind = "extend"
    if kind == "bits":
        for _ in range(random.choice([1, 1, 2, 8])):
            content[_position(random, len(content))] ^= 1 << random.randrange(8)
    elif kind == "bytes":
        for _ in range(random.choice([1, 3, 16])):
            content[_position(random, len(content))] = random.choice([0, 1, 0x7F, 0x80, 0xFF])
    elif kind == "word":
        size = random.choice([2, 4, 8])
        start = _position(random, len(content)) // size * size
        value = random.choice(WORDS) % 2 ** (8 * size)
        content[start : start + size] = value.to_bytes(size, random.choice(["little", "big"]))
    elif kind == "range":
        start = _position(random, len(content))
        size = min(random.randint(1, 600), len(content) - start)
        filling = random.choice([bytes(size), b"\xff" * size, random.randbytes(size)])
        content[start : start + size] = filling
    elif kind == "cut":
        del content[random.randint(0, len(content)) :]
    elif kind == "extend":
        content += random.choice([random.randbytes, bytes])(random.choice([1, 8, 4096]))
    elif kind == "other file":
        content = bytearray(random.choice(files).read_bytes())
    elif kind == "remove":
        file.unlink()
        return f"{name}: removed"
    elif kind in ("folder", "link", "pipe"):
        file.unlink()
        if kind == "folder":
            file.mkdir()
        elif kind == "pipe":
            os.mkfifo(file)
        else:
            file.symlink_to(index.parent / "outside" / "file")
        return f"{name}: now a {kind}"
    file.unlink()
    file.write_bytes(content)
    return f"{name}: {kind}"


def _position(random: Random, size: int) -> int:
    """Headers matter more than the rest."""
    return random.randrange(min(size, random.choice([16, 128, 1024, size, size])) or 1)


def nested(depth: int, with_lists: bool) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if with_lists else {"a": value}
    return value


NUMBERS = [0, -1, 1, 2, 7, 2**31, 2**32 + 1, 2**53, 2**63 - 1, -(2**63), 2**63, 10**400]
NUMBERS += [0.5, -0.0, 1e308, float("nan"), float("inf")]
TEXTS = ["", "a", "late", "dense", "plaid", "flat", "faiss", "IVF99999999,Flat", "HNSW2000000000"]
TEXTS += [
    "\x00",
    "\ud800",
    "\u202ea",
    "a\nb",
    "x" * 100_000,
    "nano",
    "../outside",
    "../outside/file",
]
TEXTS += ["/dev/zero", "/nowhere", "..", "late/vectors.npy", "keys.npy", "1e999", "00" * 32]
OTHERS = [None, True, False, [], {}, [[]], [{}], {"": None}, nested(80, True), nested(3000, True)]
OTHERS += [nested(80, False), nested(3000, False), list(range(5000))]


def hostile(random: Random) -> Any:
    return random.choice(random.choice([NUMBERS, TEXTS, OTHERS]))


def mutate(value: Any, random: Random) -> Any:
    """Change some value of a JSON tree, wherever it is."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        change = random.random()
        if change < 0.08:
            del value[key]
        elif change < 0.16:
            value[random.choice([*TEXTS, key + "2"])] = hostile(random)
        elif change < 0.2:
            value[random.choice(TEXTS)] = value.pop(key)
        else:
            value[key] = mutate(value[key], random)
        return value
    if isinstance(value, list) and value and random.random() < 0.85:
        position = random.randrange(len(value))
        if random.random() < 0.2:
            value.insert(position, value[position])
        else:
            value[position] = mutate(value[position], random)
        return value
    if isinstance(value, int) and random.random() < 0.3:
        return value + random.choice([-1, 1, 100])
    return hostile(random)


def dumps(value: Any) -> str:
    """JSON, deep as it may be."""
    try:
        return json.dumps(value)
    except RecursionError:
        return "[" * 100_000
