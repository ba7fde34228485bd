"""Encode on a device, decode on a server: NumPy and ONNX Runtime, never torch.

```python
from latentwire.runtime import Decoder, Encoder

packet = Encoder("mnist").encode(digits, quality=128)  # uint8 [N, 784] -> bytes
digits = Decoder("mnist").decode(packet)  # bytes -> uint8 [N, 784]
```
"""

from typing import TYPE_CHECKING

from latentwire.runtime.bundle import Bundle, Trust, open_bundle
from latentwire.runtime.contract import ItemContract
from latentwire.runtime.decoder import Decoder
from latentwire.runtime.encoder import Encoder
from latentwire.runtime.errors import LatentwireError, LocalError, RemoteError
from latentwire.runtime.selftest import SelftestReport, selftest
from latentwire.runtime.wire import (
    Damaged,
    Header,
    Hole,
    Limits,
    Packet,
    Status,
    Tile,
    TiledPicture,
    check_packet,
    frame,
    parse_header,
    parse_tile,
    read_stream,
    write_stream,
)

__all__ = [
    "Bundle",
    "Damaged",
    "Decoder",
    "Encoder",
    "Header",
    "Hole",
    "ItemContract",
    "LatentwireError",
    "Limits",
    "LocalError",
    "Packet",
    "RemoteError",
    "SelftestReport",
    "Status",
    "Tile",
    "TiledPicture",
    "Trust",
    "__version__",
    "check_packet",
    "frame",
    "open_bundle",
    "parse_header",
    "parse_tile",
    "read_stream",
    "selftest",
    "write_stream",
]

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        """`__version__`, read where it is asked for: `importlib.metadata` is slow to import."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import version

        return version("latentwire")
