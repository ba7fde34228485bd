"""The OpenAPI document of the service, at /openapi.json: what it answers, and nothing else."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

from latentwire.runtime.serve.settings import Settings

Json = dict[str, Any]

BYTES: Json = {"type": "string", "format": "binary"}

DEVICE = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
ENVELOPE: tuple[tuple[str, str, str], ...] = (
    ("Device", f"^{DEVICE}$", "Name of the sender; where there are tokens, the one whose token this is."),
    ("Spool", "^[0-9a-f]{32}$", "Random name of the sender's spool."),
    ("Sequence", "^(0|[1-9][0-9]{0,17})$", "Place of the packet in its spool; of a stream's first packet."),
    (
        "Times",
        "^(0|[1-9][0-9]{0,14})(,(0|-?[1-9][0-9]{0,9}))*$",
        "When each item was taken, ms; differences.",
    ),
    ("Notes", r"^\[.*\]$", "JSON array of the items' notes, each an object or null."),
    ("Seal", f"^{DEVICE}$", "Name of the key that the packet is sealed with."),
)
"""Header without its prefix, what it may be, and what it is."""
REFUSALS: Mapping[int, str] = {
    400: "Not a whole intact packet, or a bad envelope. It would be refused again.",
    401: "No token, an unknown one, or one that has expired.",
    403: "The token of another device, sealed with a key that the server does not have yet, or from a foreign page.",
    406: "These items are no pictures: ask for application/x-npy.",
    408: "The body did not arrive in time.",
    409: "Another packet was accepted under this name: the spool was cloned or put back. Send it under a new spool.",
    413: "More bytes, packets, or items to decode than are taken. It would be refused again.",
    415: "The body is not application/octet-stream.",
    422: "An intact packet of a codec, or a packet version, that is not served. It would be refused again.",
    429: "No room now. Send it again.",
    500: "A fault of the server's own. Send it again.",
    503: "The service ends, or cannot write its inbox. Send it again.",
}
NO_NAME = "The name in Host is none of the server's."
LATER = (429, 503)
NAMED = {400: "Refused", 409: "Conflict", 413: "Refused", 415: "Refused", 422: "Refused"}
"""Statuses that name the packet, where it is one, and the schema for that."""
EACH = ("Taken", "Conflict", "Refused")
"""What may become of a packet of a stream."""
SENDING = """202 when the packets are on the disk. Device, Spool and Sequence name a packet for good; without any of the
headers it is named by its SHA-256. A name that was accepted before is answered `duplicate`, and with
another packet 409. What is refused for good names its packet, too: an error without `id` is not about one packet. In a
stream the packets after the first have the next sequences, and bad ones are refused in their place. With Accept
image/png or application/x-npy, one packet is decoded at once, answered and not stored."""


def document(settings: Settings) -> Json:
    """The document for a service with these settings."""
    schemes: Json = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
    with_tokens = settings.tokens is not None or settings.readers is not None
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Latentwire decode service",
            "version": importlib.metadata.version("latentwire"),
            "description": "Takes packets, keeps them safe, decodes them into a sink.",
        },
        "paths": _paths(settings),
        "components": {"schemas": _schemas()} | (schemes if with_tokens else {}),
    }


def _paths(settings: Settings) -> Json:
    found: Json = {
        "/v1/packets": {"post": _packets()},
        "/v1/codecs": _get("What is served", "Codecs"),
        "/healthz": _get("The process runs", "Alive"),
        "/readyz": _get("Packets are taken and get to the sink", "Ready", {503: "What stands in the way"}),
        "/metrics": {"get": _operation("Metrics for Prometheus", {"text/plain": {"schema": {"type": "string"}}})},
        "/openapi.json": {"get": _operation("This document", {"application/json": {"schema": {"type": "object"}}})},
    }
    asked = {"/v1/packets": settings.tokens, "/v1/codecs": settings.readers, "/metrics": settings.readers}
    for path, operations in found.items():
        for operation in operations.values():
            if asked.get(path) is not None:
                operation["security"] = [{"token": []}]
                operation["responses"]["401"] = {"description": REFUSALS[401], "content": _json(_ref("Error"))}
            if settings.checks_hosts:
                operation["responses"]["421"] = {"description": NO_NAME, "content": _json(_ref("Error"))}
    return found


def _packets() -> Json:
    return {
        "summary": "Take a packet, or a stream of packets",
        "description": SENDING,
        "operationId": "send",
        "parameters": [_header(*field) for field in ENVELOPE],
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": BYTES}},
        },
        "responses": {
            "200": {
                "description": "The decoded items",
                "content": {media: {"schema": BYTES} for media in ("image/png", "application/x-npy")},
            },
            "202": {
                "description": "What became of the packet, or of each packet of a stream",
                "content": _json({"oneOf": [_ref("Taken"), _ref("Stream")]}),
            },
        }
        | {str(status): _refusal(status) for status in REFUSALS},
    }


def _header(name: str, pattern: str, text: str) -> Json:
    return {
        "name": f"Latentwire-{name}",
        "in": "header",
        "required": False,
        "description": text,
        "schema": {"type": "string", "pattern": pattern},
    }


def _refusal(status: int) -> Json:
    schema = {"oneOf": [_ref(NAMED[status]), _ref("Error")]} if status in NAMED else _ref("Error")
    found: Json = {"description": REFUSALS[status], "content": _json(schema)}
    if status in LATER:
        text = "Seconds to wait"
        found["headers"] = {"Retry-After": {"description": text, "required": True, "schema": {"type": "integer"}}}
    return found


def _get(text: str, schema: str, others: Mapping[int, str] | None = None) -> Json:
    content = _json(_ref(schema))
    responses = {str(status): {"description": why, "content": content} for status, why in (others or {}).items()}
    operation = _operation(text, content)
    operation["responses"] |= responses
    return {"get": operation}


def _operation(text: str, content: Json) -> Json:
    return {"summary": text, "responses": {"200": {"description": text, "content": content}}}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Json, optional: Sequence[str] = ()) -> Json:
    """An object with all of these properties, the optional ones excepted, and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _schemas() -> Json:
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    axis = {"oneOf": [{"type": "integer"}, text, {"type": "array", "items": {"type": "integer"}}]}
    contract = _object(
        {
            "dtype": {"enum": ["uint8", "uint16", "int16", "float32"]},
            "shape": {"type": "array", "items": axis},
            "range": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        }
    )
    codec = _object(
        {"id": {"type": "string", "pattern": "^[0-9a-f]{64}$"}, "name": text, "family": text, "contract": contract}
    )
    return {
        "Error": _object({"error": text, "message": text}),
        "Taken": _object({"id": text, "status": {"enum": ["accepted", "duplicate"]}}),
        "Refused": _object({"id": text, "status": {"const": "refused"}, "error": text, "message": text}, ("id",)),
        "Conflict": _object({"id": text, "status": {"const": "conflict"}, "error": text, "message": text}),
        "Stream": _object({"packets": {"type": "array", "items": {"oneOf": list(map(_ref, EACH))}}}),
        "Codecs": _object({"codecs": {"type": "array", "items": codec}}),
        "Alive": _object({"alive": {"const": True}}),
        "Ready": _object({"ready": {"type": "boolean"}, "obstacles": texts}),
    }
