"""Requests generated from the OpenAPI description of the service: valid and invalid ones."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from support.serving import made_index, served

schemathesis = pytest.importorskip("schemathesis")
pytest.importorskip("fastapi")
# to the description a filter is any string
from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def service(tmp_path_factory, tiny_encoder_folder):
    index = made_index(tmp_path_factory.mktemp("fuzzed") / "i", tiny_encoder_folder)
    with served(index) as (url, process):
        yield url
        assert process.poll() is None  # nothing has ended it


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_every_answer_is_as_described(service, mode):
    """Every answer has a described status and form, none is a 5xx; invalid requests are refused."""
    description = schemathesis.openapi.from_url(f"{service}/openapi.json")
    operations = [operation.ok() for operation in description.get_all_operations()]
    assert len(operations) > 8
    for operation in operations:

        @EXAMPLES
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case):
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        with suppress(Unsatisfiable):  # an operation without parameters has no invalid request
            holds()
