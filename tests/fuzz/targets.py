"""What takes bytes from elsewhere, one target each: bytes in, nothing or a named error out.

A target passes if it returns, or raises an error of Latentwire's own; it fails by any other exception, by two readers
that disagree, and by what it costs (`cost.py`). `tests/corpus/NAME/` holds what it failed on once, and other inputs
that are worth keeping; `seeds.py` makes a good one of each kind.
"""

from __future__ import annotations

import io
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy_codec
import onnx
import onnxruntime as ort
import seeds
from google.protobuf.message import DecodeError
from seeds import encoder
from services import Running, in_thread

from latentwire.runtime import Decoder
from latentwire.runtime.bundle import Manifest, check_model, open_bundle, read_cost, read_metadata
from latentwire.runtime.bundle.operators import DOMAINS, OPERATORS
from latentwire.runtime.errors import (
    BodyError,
    LanesError,
    LatentwireError,
    LayoutError,
    LimitError,
    RemoteError,
    ResourceError,
)
from latentwire.runtime.files import PictureOptions, items_from_stdin, load_items, load_picture
from latentwire.runtime.serve.intake import Intake
from latentwire.runtime.serve.service import Service
from latentwire.runtime.serve.settings import Bounds, Settings
from latentwire.runtime.strictjson import parse
from latentwire.runtime.wire import (
    CHECKSUM_BYTES,
    CODEC_BYTES,
    HEADER,
    TILE_BYTES,
    Damaged,
    Envelope,
    Limits,
    Status,
    frame,
    parse_tile,
    read_stream,
    verdict,
)

OPEN = ExitStack()
"""What lasts until `close`."""
CORPUS = Path(__file__).parent.parent / "corpus"
PIXELS = 1 << 18
"""Largest picture that a fuzzed packet may decode to: what it costs to decode one is not what is looked for."""
ITEMS = 1 << 12
"""Most digits."""
LONGEST = 1 << 20
"""Bytes of the longest packet."""
BOUNDS = Bounds(packet_bytes=LONGEST, body_bytes=2 * LONGEST, output_bytes=3 * PIXELS)
CODECS = ("mnist", "photo")
MOST_ELEMENTS = 1 << 14
"""Symbols that plain Python decodes, too."""
HEADER_NAME = re.compile(r"[A-Za-z-]+")
FRAMING = ("host", "content-length", "transfer-encoding", "connection")
"""Headers that a client writes by itself."""


@dataclass(frozen=True)
class Target:
    """One way in.

    Attributes:
        name: of its corpus.
        run: takes the bytes; returns how many values (pixels, items) came out of them, which may cost something.
        seeds: inputs that are made rather than kept, by name.
    """

    name: str
    run: Callable[[bytes], int]
    seeds: Callable[[], dict[str, bytes]]

    def corpus(self) -> Iterator[tuple[str, bytes]]:
        """Every input that is kept or made, by name."""
        yield from sorted(self.seeds().items())
        for path in sorted((CORPUS / self.name).glob("*")):
            yield path.name, path.read_bytes()

    def check(self, data: bytes) -> int:
        """Run it; an error of Latentwire's own is a good answer, unless it is that this machine has not enough."""
        try:
            return self.run(data)
        except ResourceError:
            raise
        except LatentwireError:
            return 0


@cache
def decoder(codec: str) -> Decoder:
    """Its decoder, which takes no more than `ITEMS` and `PIXELS`."""
    limits = Limits((ITEMS,)) if codec == "mnist" else Limits((65535, 65535, (1, 3)), area=3 * PIXELS)
    return Decoder(codec, limits=limits)


def repaired(data: bytes, codec: str) -> bytes:
    """The bytes as a packet of that codec as far as can be: magic, version, codec, length and checksum are right."""
    if len(data) < CHECKSUM_BYTES + 9:
        return data
    fixed = bytearray(data)
    fixed[:3] = b"LW\x01"
    fixed[3 : 3 + CODEC_BYTES] = bytes.fromhex(decoder(codec).codec_id)[:CODEC_BYTES]
    width = 1 << min(fixed[8] >> 4 & 3, 2)
    place = 9 + width * ((fixed[8] >> 6) + 1)
    if place + width + CHECKSUM_BYTES <= len(fixed) and len(fixed) < 256**width:
        fixed[place : place + width] = len(fixed).to_bytes(width, "little")
    fixed[-CHECKSUM_BYTES:] = zlib.adler32(bytes(fixed[:-CHECKSUM_BYTES])).to_bytes(CHECKSUM_BYTES, "little")
    return bytes(fixed)


@cache
def graph(codec: str) -> ort.InferenceSession:
    """The graph that reads packets of a codec, asked without any check before it."""
    return ort.InferenceSession(open_bundle(codec).read_model("unpack", "exact"))


@cache
def tables() -> tuple[np.ndarray, np.ndarray]:
    """(index [quality, C], frequency [D, S]) of the ready codec of digits, read from its files."""
    from latentwire.export.factorized.verify import read_tables
    from latentwire.export.verify import Subject

    found = read_tables(Subject(open_bundle("mnist")))
    return found.index.astype(np.int64), found.frequency.astype(np.int64)


def require(held: object, message: str) -> None:
    """Two readers agree; AssertionError, which no reader raises, where they do not."""
    if not held:
        raise AssertionError(message)


def packet_header(data: bytes) -> int:
    """Any bytes: what Python refuses before the graph runs, the graph refuses for the same reason.

    What costs much is left to Python, which says no on the header: ready graphs are older than some of its bounds.
    """
    values = 0
    for codec in CODECS:
        try:
            values += decoder(codec).decode(data).size
        except (LimitError, LayoutError, LanesError, BodyError):
            continue
        except RemoteError as fault:
            status = int(graph(codec).run(["status"], {"packet": np.frombuffer(data, np.uint8)})[0])
            require(status != Status.OK and type(verdict(status)) is type(fault), f"graph: {status}, Python: {fault!r}")
    return values


def packet_of_items(data: bytes) -> int:
    """A packet of digits whose header holds: graph and plain Python read the same symbols, and write the same bytes."""
    packet = repaired(data, "mnist")
    symbols = decoder("mnist").symbols(packet)
    index, frequency = tables()
    rows = np.broadcast_to(index[packet[7]], symbols.shape)
    if symbols.size <= MOST_ELEMENTS:
        found = numpy_codec.decode_rows(packet, rows, frequency)
        require(np.array_equal(found, symbols), "expected the symbols that plain Python reads")
        lanes = 1 << (packet[8] & 15)
        again = numpy_codec.encode_rows(
            symbols, rows, frequency, size=(len(symbols),), quality=packet[7], codec_id=packet[3:7], lanes=lanes
        )
        require(again == packet, "expected one packet for these symbols, found two")
    return int(decoder("mnist").decode(packet).size)


def packet_of_picture(data: bytes) -> int:
    """A packet of a picture whose header holds."""
    return int(decoder("photo").decode(repaired(data, "photo")).size)


def stream(data: bytes) -> int:
    """Records and damaged stretches follow each other without gap or overlap, and a record is what it was."""
    at, count = 0, 0
    for record in read_stream(io.BytesIO(data), LONGEST):
        require(record.offset == at, f"expected the next record at {at}, found it at {record.offset}")
        if isinstance(record, Damaged):
            require(record.length > 0, "expected a damaged stretch of some bytes")
            at += record.length
        else:
            again = frame(record.data)
            require(data[at : at + len(again)] == again, "expected the bytes of the stream in the record")
            at, count = at + len(again), count + 1
    require(at == len(data), f"expected the records to end at {len(data)}, found {at}")
    return count


def tile(data: bytes) -> int:
    """A tile's header comes back as it was; two tiles of one picture are put together or refused."""
    require(parse_tile(data).to_bytes() == data[:TILE_BYTES], "expected the bytes that were read")
    found = decoder("photo").decode_tiles([data, data], max_pixels=PIXELS)
    return int(found.pixels.size)


def envelope(data: bytes) -> int:
    """Lines NAME: VALUE as headers; what is read is written as it was read."""
    text = data.decode("latin-1")
    pairs = dict(line.partition(":")[::2] for line in text.split("\n"))
    found = Envelope.from_headers({HEADER + name: value for name, value in pairs.items()})
    again = Envelope.from_fields(found.to_fields())
    require(again.to_fields() == found.to_fields(), "expected the envelope that was written")
    return 0


def manifest(data: bytes) -> int:
    """The text of a manifest."""
    found = Manifest.from_json(parse(data, "manifest"), "manifest")
    require(Manifest.from_json(found.to_json(), "manifest") == found, "expected the manifest that was written")
    return 0


def onnx_file(data: bytes) -> int:
    """A model file: what passes is, as the onnx library reads it, made of known operators and in no other file."""
    check_model(data, "model")
    read_metadata(data, "model")
    read_cost(data, "model", 1)
    try:
        model = onnx.load_from_string(data)
    except DecodeError:
        return 0
    graphs = [model.graph]
    while graphs:
        found = graphs.pop()
        tensors = list(found.initializer)
        for node in found.node:
            require(node.op_type in OPERATORS and node.domain in DOMAINS, f"a known operator, found {node.op_type!r}")
            for attribute in node.attribute:
                graphs += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
                tensors += [*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])]
        elsewhere = [tensor.name for tensor in tensors if tensor.external_data or tensor.data_location]
        require(not elsewhere and not found.sparse_initializer, f"all tensors in the model, found {elsewhere}")
    require(not model.functions, "no functions")
    return 0


def zipped(data: bytes) -> int:
    """A bundle as a zip."""
    with _file(data, ".zip") as path:
        return open_bundle(path).check_files()


def checkpoint(data: bytes) -> int:
    """A checkpoint, or the weights that a run starts from."""
    from latentwire.train import checkpoint as checkpoints

    with _file(data, ".safetensors") as path:
        checkpoints.read(path)
    return 0


def run_json(data: bytes) -> int:
    """What a run folder says of its run."""
    from latentwire.train.families import family_of_run
    from latentwire.train.image.run import load_image_run

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "run.json").write_bytes(data)
        if family_of_run(Path(folder)) == "image":
            load_image_run(folder)
    return 0


def items_file(data: bytes) -> int:
    """A file of items, told by its first bytes, or values without any."""
    contract = encoder("mnist").contract
    with _file(data, "") as path:
        try:
            return int(load_items(path, contract).size)
        except LatentwireError:
            return int(items_from_stdin(io.BytesIO(data), contract, raw=True).size)


def picture_file(data: bytes) -> int:
    """A picture of any kind."""
    with _file(data, "") as path:
        return int(np.asarray(load_picture(path, PictureOptions(background="white", depth=8))).size)


@contextmanager
def _file(data: bytes, suffix: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"input{suffix}"
        path.write_bytes(data)
        yield path


@cache
def service() -> Running:
    """A service of both ready codecs that listens, without tokens."""
    return OPEN.enter_context(in_thread(_folder(), CODECS, bounds=BOUNDS))


@cache
def intake() -> Intake:
    """What checks the messages of a broker, of a service that does not listen."""
    folder = _folder()
    found = Service(Settings(CODECS, str(folder / "sink"), folder / "inbox", open_to_all=True, bounds=BOUNDS))
    OPEN.callback(found.close)
    return found.intake


def _folder() -> Path:
    return Path(OPEN.enter_context(tempfile.TemporaryDirectory(prefix="latentwire-fuzz-")))


def close() -> None:
    """End what targets have opened; whoever ran one calls it, since threads would keep the process."""
    OPEN.close()
    for kept in (service, intake):
        kept.cache_clear()


def http(data: bytes) -> int:
    """Lines NAME: VALUE of headers, an empty line, a body: answered, and by no 500."""
    head, _, body = data.partition(b"\n\n")
    headers = {"Content-Type": "application/octet-stream"}
    for line in head.decode("latin-1").split("\n"):
        name, _, value = line.partition(":")
        if HEADER_NAME.fullmatch(name) and value.isprintable() and name.lower() not in FRAMING:
            headers[name] = value.strip()
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    answer = service().client.post("/v1/packets", content=body, headers=encoded)
    require(answer.status_code != 500, f"expected an answer that says what is wrong, found 500: {answer.text[:200]}")
    return 0


def message(data: bytes) -> int:
    """What a broker hands over: user properties as lines NAME: VALUE, an empty line, a payload."""
    head, _, body = data.partition(b"\n\n")
    fields = dict(line.partition(":")[::2] for line in head.decode("latin-1").split("\n"))
    intake().packet(body, Envelope.from_fields(fields))
    return 0


TARGETS = {
    target.name: target
    for target in (
        Target("packets", packet_header, seeds.packets),
        Target("items", packet_of_items, seeds.packets),
        Target("picture", packet_of_picture, seeds.pictures),
        Target("streams", stream, seeds.streams),
        Target("tile", tile, seeds.tiles),
        Target("envelope", envelope, seeds.envelopes),
        Target("manifest", manifest, seeds.manifests),
        Target("onnx", onnx_file, seeds.models),
        Target("zip", zipped, seeds.zips),
        Target("checkpoint", checkpoint, seeds.checkpoints),
        Target("run", run_json, seeds.runs),
        Target("arrays", items_file, seeds.arrays),
        Target("images", picture_file, seeds.images),
        Target("http", http, seeds.requests),
        Target("message", message, seeds.messages),
    )
}
