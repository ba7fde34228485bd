"""The packet's public names under their former address; they live in `latentwire.runtime.wire`."""

from latentwire.runtime.wire import Header, Limits, Status, check_packet, parse_header

__all__ = ["Header", "Limits", "Status", "check_packet", "parse_header"]
