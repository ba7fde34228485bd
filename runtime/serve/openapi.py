"""The OpenAPI document of the service."""

from __future__ import annotations

from typing import Any

from latentwire.runtime.serve.settings import Settings


def document(settings: Settings) -> dict[str, Any]:
    """The document."""
    return {"openapi": "3.1.0"}
