"""Requests made from the service's own OpenAPI description: right, wrong and strange ones."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from serving import made_index, served

schemathesis = pytest.importorskip("schemathesis")
pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def service(tmp_path_factory, tiny_encoder_folder):
    index = made_index(tmp_path_factory.mktemp("fuzzed") / "i", tiny_encoder_folder)
    with served(index) as (url, process):
        yield url
        assert process.poll() is None


@pytest.fixture(scope="module")
def described(service):
    return schemathesis.openapi.from_url(f"{service}/openapi.json")


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_described(case):
    case.call_and_validate()
