"""Schemathesis draws requests from the service's own document, and holds every answer against it."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from services import SMALL, in_thread

EXAMPLES = {"/v1/packets": 60, "/v1/codecs": 3, "/healthz": 3, "/readyz": 3, "/metrics": 3}
"""How many requests for each path; there are no others beside the document's own."""


@pytest.fixture(scope="module")
def interface(tmp_path_factory: pytest.TempPathFactory):
    with in_thread(tmp_path_factory.mktemp("interface"), ("mnist", "photo"), bounds=SMALL) as running:
        yield schemathesis.openapi.from_url(f"{running.url}/openapi.json")


@pytest.mark.parametrize(
    ("path", "mode"),
    # Nothing can be wrong with a request that has neither parameters nor a body.
    [("/v1/packets", GenerationMode.NEGATIVE), *((path, GenerationMode.POSITIVE) for path in EXAMPLES)],
)
def test_every_answer_is_as_documented(interface, path: str, mode: GenerationMode):
    operations = {found.ok().path: found.ok() for found in interface.get_all_operations()}
    assert set(operations) == set(EXAMPLES)

    @given(operations[path].as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES[path], deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def check(case: schemathesis.Case) -> None:
        # No schema can say which bytes are a packet, so bytes that are none are refused although it allows them.
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    check()
