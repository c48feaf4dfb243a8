"""Requests as the service describes them, with hostile strings in them: never a 5xx, never slow."""

from __future__ import annotations

import time
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from support.fuzzing import SEED, record, trials
from support.serving import made_index, served

schemathesis = pytest.importorskip("schemathesis")
pytest.importorskip("fastapi")
from schemathesis.specs.openapi.checks import (  # noqa: E402
    negative_data_rejection,
    positive_data_acceptance,
)

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3600)]

SLOW = 20  # seconds; a search has a deadline of its own
FILTERS = [
    "language = 'python'",
    "text GLOB '" + "*[^@]????" * 40 + "ZQ'",
    "text LIKE '" + "%a" * 200 + "'",
    "x = " + "9" * 400,
    "x = 1e999",
    "(" * 5000 + "x = 1" + ")" * 5000,
    "NOT " * 3000 + "x = 1",
    " OR ".join(["kind = 'a'"] * 3000),
    "kind IN (" + ", ".join(["'a'"] * 30_000) + ")",
    "1 = 1; DROP TABLE passages",
    "kind = 'a' --",
    "json_extract(metadata, '$') = 'a'",
    "randomblob(1000000000) = 1",
    '"; DROP TABLE passages; --" = 1',
    "a.b.c.d = 1",
]
TEXTS = [
    "",
    " ",
    "\x00",
    "a\x00b",
    "\ud800",
    "\u202e\u0085\x9b31m",
    "\U0010ffff",
    "e\u0301" * 5000,
    "a" * 200_000,
    "word " * 40_000,
    '"' * 3000,
    "* NEAR(a b) OR -x ^y {col}: z",
    "../../../../etc/passwd",
    "%00%2e%2e%2f",
    "net/retry.py",
    "net/retry.py:1-3",
    "(a+)+$",
    "a{99999999999}",
    "$" * 50 + "{{7*7}}",
    "\r\nSet-Cookie: a=b",
]
NUMBERS = [0, -1, 2**31, 2**63, 10**400, 1e308, 0.5, True]


def poisoned(value: Any, random: Random) -> Any:
    """Replace some strings and numbers by hostile ones."""
    if isinstance(value, dict):
        return {key: poisoned(item, random) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item, random) for item in value] * random.choice([1, 1, 1, 50])
    if random.random() < 0.5:
        return value
    if isinstance(value, str):
        return random.choice(random.choice([TEXTS, FILTERS]))
    return random.choice(NUMBERS)


@pytest.fixture(scope="module")
def service(tmp_path_factory, tiny_encoder_folder):
    index = made_index(tmp_path_factory.mktemp("fuzzed") / "i", tiny_encoder_folder)
    with served(index) as (url, process):
        yield url
        assert process.poll() is None  # nothing has ended it


def test_hostile_strings(service):
    description = schemathesis.openapi.from_url(f"{service}/openapi.json")
    operations = [operation.ok() for operation in description.get_all_operations()]
    assert len(operations) > 8
    statuses: Counter[int] = Counter()
    for operation in operations:

        @seed(SEED)
        @settings(
            max_examples=trials(60),
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(), number=st.integers(0, 2**32))
        def holds(case, number):
            random = Random(number)
            for name in ("query", "path_parameters"):
                if parameters := getattr(case, name):
                    setattr(case, name, poisoned_parameters(parameters, random))
            if isinstance(case.body, (dict, list)):
                case.body = poisoned(case.body, random)
            begun = time.monotonic()
            answer = case.call(timeout=60)
            assert time.monotonic() - begun < SLOW
            statuses[answer.status_code] += 1
            # whether the request is valid is not known any more
            unknown = [negative_data_rejection, positive_data_acceptance]
            case.validate_response(answer, excluded_checks=unknown)

        holds()
    for status, count in statuses.items():
        record("requests", {2: "answers", 4: "refused"}.get(status // 100, "failed"), count)


def poisoned_parameters(parameters: dict, random: Random) -> dict:
    """As `poisoned`, with what an address can contain."""
    changed = {name: str(poisoned(value, random))[:4000] for name, value in parameters.items()}
    return {name: text.encode("utf-8", "replace").decode() for name, text in changed.items()}
