"""Schemathesis draws requests from the service's own document, and holds every answer against it."""

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from services import SMALL, in_thread

from latentwire.runtime.serve.openapi import document
from latentwire.runtime.serve.settings import Settings

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


def test_what_needs_a_token_and_a_name_is_said(tmp_path: Path):
    found = document(Settings(("mnist",), "sink", tokens=tmp_path, readers=tmp_path))["paths"]
    asked = {path for path, operations in found.items() for operation in operations.values() if "security" in operation}
    assert asked == {"/v1/packets", "/v1/codecs", "/metrics"}
    assert all("401" in operation["responses"] for path in asked for operation in found[path].values())
    assert not any("421" in operation["responses"] for path in found.values() for operation in path.values())
    found = document(Settings(("mnist",), "sink", open_to_all=True))["paths"]
    assert all("421" in operation["responses"] for path in found.values() for operation in path.values())
    assert not any("security" in operation for path in found.values() for operation in path.values())
