"""Schemathesis draws requests from the service's own document and compares every answer with it."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serve_helpers import SMALL, in_thread
