"""What the sink gets for one packet: its items as a file, and a JSON document of what came beside them."""

from __future__ import annotations

import json
from typing import Any

from latentwire.runtime.contract import Array
from latentwire.runtime.serve.codecs import Codec
from latentwire.runtime.serve.inbox import Stored
from latentwire.runtime.serve.sinks import File
from latentwire.runtime.wire import parse_header

BY_HASH = "_sha256"
"""Folder of packets without an envelope; no device's name begins like that."""


def files_of(stored: Stored, codec: Codec, items: Array, form: str) -> list[File]:
    """The files of one packet, notes first; the same ones whenever they are made.

    Args:
        stored: the packet.
        codec: that decoded it.
        items: what it decoded to.
        form: of pictures, "png" or "npy"; other codecs have formats of their own.
    """
    kind = codec.family.sink_form(form)
    folder, stem = place_of(stored)
    notes = json.dumps(described(stored, codec, f"{stem}.{kind}"), indent=1) + "\n"
    content = codec.family.to_bytes(items, kind)
    return [File(folder, f"{stem}.json", notes.encode()), File(folder, f"{stem}.{kind}", content)]


def place_of(stored: Stored) -> tuple[str, str]:
    """(Folder, name without suffix), of the envelope's validated fields or the packet's hash."""
    envelope = stored.envelope
    return (BY_HASH, stored.name) if envelope is None else (envelope.device, f"{envelope.spool}-{envelope.sequence}")


def described(stored: Stored, codec: Codec, name: str) -> dict[str, Any]:
    """What the JSON document says; nothing of when or where it was decoded, so that it is always the same."""
    envelope = stored.envelope
    header = parse_header(stored.body)
    return {
        "file": name,
        "device": envelope and envelope.device,
        "spool": envelope and envelope.spool,
        "sequence": envelope and envelope.sequence,
        "times": [] if envelope is None else list(envelope.times),
        "notes": [] if envelope is None else list(envelope.notes),
        "codec": codec.identity.codec_id,
        "quality": header.quality,
        "size": list(header.size),
        "packet_bytes": header.length,
    }
