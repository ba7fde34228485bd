"""What a decoder's status means, for the code in the READMEs: the runtime's own table, in each of their languages."""

from __future__ import annotations

import json
from collections.abc import Mapping

from latentwire.runtime.wire import Status, verdict

UNKNOWN = "a status that is newer than this code: package the codec anew"
FAULTS: Mapping[Status, str] = {status: str(verdict(status)) for status in Status if status != Status.OK}
"""What is wrong with a packet, by status. Code knows them by number and by name: both stay as they are."""


def status_texts() -> dict[str, str]:
    """Text of each language by the name that it has in the templates, indented as it stands there."""
    return {
        "status_rows": lines("| {number} | `{name}` | {plain} |", ""),
        "kotlin_statuses": lines("{name}({number}, {meaning})", " " * 4, ",\n"),
        "swift_statuses": lines("case {lower} = {number}", " " * 4),
        "swift_meanings": lines("case .{lower}: return {meaning}", " " * 8),
        "javascript_statuses": lines("{number}: [{quoted}, {meaning}],", " " * 2),
        "python_statuses": lines("{number}: ({quoted}, {meaning}),", " " * 4),
        "cpp_statuses": lines("case {number}: return {meaning};", " " * 8),
        "unknown_status": json.dumps(UNKNOWN),
    }


def lines(form: str, indent: str, between: str = "\n") -> str:
    """One entry for each status.

    Args:
        form: of an entry.
        indent: in front of it.
        between: two of them.
    """
    return between.join(
        indent
        + form.format(
            number=int(status),
            name=status.name,
            lower=status.name.lower(),
            quoted=json.dumps(status.name),
            meaning=json.dumps(meaning),
            plain=meaning,
        )
        for status, meaning in FAULTS.items()
    )
