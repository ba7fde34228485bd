"""A packet that may have ended the service is decoded in a process of its own, before it is put aside for that.

How that process ends says whose fault it is: a signal such as SIGSEGV is the packet's; SIGKILL is what a system sends
that is out of memory; and where it decodes, whoever ended the service was somebody else.

    python -m latentwire.runtime.serve.trial    packet on stdin, a line of JSON before it: codec, variant, providers,
                                                signed_by
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from latentwire.runtime.bundle import Trust
from latentwire.runtime.decoder import Decoder
from latentwire.runtime.errors import LocalError, RemoteError, ResourceError
from latentwire.runtime.serve.codecs import Codec

SECONDS = 900
"""For loading the codec and for one run of it, which ends by itself after ten minutes."""
LOCAL = 8
"""Exit status of a trial that this machine has failed."""
FATAL = 0x80000000
"""Exit statuses of Windows from here on are exceptions of the processor."""


def ends_its_process(codec: Codec, packet: bytes) -> bool:
    """Whether decoding the packet ends the process that does it.

    Raises:
        ResourceError: the process was killed, or took too long.
        LocalError: it could not decode for another reason of this machine's.
    """
    key = None if codec.trust is None or codec.trust.signed_by is None else str(codec.trust.signed_by)
    asked = {"codec": codec.name, "variant": codec.variant, "providers": codec.providers, "signed_by": key}
    head = json.dumps(asked).encode()
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(
            command, input=head + b"\n" + packet, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=SECONDS
        )
    except subprocess.TimeoutExpired as fault:
        raise ResourceError(f"expected a packet that decodes within {SECONDS} s, found one that does not") from fault
    if done.returncode == -getattr(signal, "SIGKILL", 9):
        raise ResourceError("expected memory to decode a packet, found that the system kills the process that tries")
    if done.returncode < 0 or done.returncode >= FATAL:
        return True
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-400:]
        raise LocalError(f"expected a machine that can decode a packet, found: {said}")
    return False


def main() -> None:
    """Decode what is on stdin; a packet that is corrupt is decoded as far as this goes."""
    head, _, packet = sys.stdin.buffer.read().partition(b"\n")
    asked = json.loads(head)
    try:
        trust = None if asked["signed_by"] is None else Trust(signed_by=Path(asked["signed_by"]))
        decoder = Decoder(asked["codec"], variant=asked["variant"], providers=asked["providers"], trust=trust)
        decoder.decode(packet)
    except RemoteError:
        return
    except (LocalError, OSError, MemoryError) as fault:
        print(f"{type(fault).__name__}: {fault}", file=sys.stderr)
        sys.exit(LOCAL)


if __name__ == "__main__":
    main()
