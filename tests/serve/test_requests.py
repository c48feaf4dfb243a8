"""Requests made from the service's own OpenAPI description: right, wrong and strange ones."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from support.serving import made_index, served

schemathesis = pytest.importorskip("schemathesis")
pytest.importorskip("fastapi")
# a filter is a string to the description, and more than that to the service
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
        assert process.poll() is None


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_every_answer_is_as_described(service, mode):
    """No answer but a described one, of the described form, and no 5xx; requests that are not as
    described are refused."""
    described = schemathesis.openapi.from_url(f"{service}/openapi.json")
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) > 8
    for operation in operations:

        @EXAMPLES
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case):
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        with suppress(Unsatisfiable):  # what takes nothing cannot be asked wrongly
            holds()
