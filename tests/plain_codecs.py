"""Codecs that lose nothing and compress nothing: small graphs, written by hand, that make and take real packets."""

import json
from pathlib import Path

import onnx

from latentwire.runtime.bundle import METADATA_KEY, Identity, Metadata
from latentwire.runtime.contract import ItemContract
from latentwire.runtime.wire import Limits

PIXELS = ItemContract("uint8", ("height", "width", (1, 3)), (0, 255))
PICTURES = Identity(
    "5107e0" + "00" * 29, "image", PIXELS, PIXELS, (0, 1, 2), Limits((65535, 65535, (1, 3)), area=3 << 20), 128
)
"""At most a megapixel in colour a packet."""
SAMPLES = ItemContract("int16", ("items", 8, 2), (-32768, 32767))
WINDOWS = Identity("5107e1" + "00" * 29, "wave", SAMPLES, SAMPLES, (0,), Limits((1000,)), 128)
"""Of a family that nobody has registered."""


def in_bytes(result: str, column: str, places: str) -> str:
    """Lines that make bytes uint8 [n * k] of numbers [n, 1], for ``places`` [1, k], powers of 256."""
    return f"""
  {result}_shifted = Div({column}, {places})
  {result}_digits = Mod({result}_shifted, byte)
  {result}_small = Cast <to = 2> ({result}_digits)
  {result} = Reshape({result}_small, minus)
"""


def of_bytes(result: str, data: str, shape: str, places: str) -> str:
    """Lines that make numbers int64 of bytes; ``shape`` has those of a number along its second axis."""
    return f"""
  {result}_wide = Cast <to = 7> ({data})
  {result}_digits = Reshape({result}_wide, {shape})
  {result}_weighted = Mul({result}_digits, {places})
  {result} = ReduceSum <keepdims = 0> ({result}_weighted, axis)
"""


PICTURE_BODY = """
  size = Shape(input)
  flat = Reshape(input, minus)
"""
# Two's complement, little-endian.
WINDOW_BODY = f"""
  size = Shape <start = 0, end = 1> (input)
  wide = Cast <to = 7> (input)
  whole = Constant <value_int = 65536> ()
  unsigned = Mod(wide, whole)
  row = Reshape(unsigned, column_shape)
{in_bytes("flat", "row", "bytes_of_two")}
"""
# Header fields as narrow as they can be, one lane whose state is 0, the values as they are, Adler-32.
ENCODER = """
<ir_version: 9, opset_import: ["" : 20]>
encoder (INPUT input, uint8 quality) => (uint8[n] packet) {
  minus = Constant <value_ints = [-1]> ()
  one = Constant <value_ints = [1]> ()
  zero = Constant <value_int = 0> ()
  unit = Constant <value_int = 1> ()
  overheads = Constant <value_ints = [OVERHEADS]> ()
  first_two = Constant <value_ints = [0, 1]> ()
  narrow = Constant <value_ints = [255, 65535]> ()
  first = Constant <value_ints = [0]> ()
  widths = Constant <value_ints = [1, 2, 4]> ()
  sixteen = Constant <value_int = 16> ()
  places = Constant <value = int64[1, 4] {1, 256, 65536, 16777216}> ()
  column_shape = Constant <value_ints = [-1, 1]> ()
  four_columns = Constant <value_ints = [-1, 4]> ()
  bytes_of_two = Constant <value = int64[1, 2] {1, 256}> ()
  byte = Constant <value_int = 256> ()
  prime = Constant <value_int = 65521> ()
  start = Constant <value = uint8[7] {START}> ()
  dimensions = Constant <value_int = LAYOUT> ()
  states = Constant <value = uint8[4] {0, 0, 0, 0}> ()
BODY
  count = Shape(flat)
  lengths = Add(count, overheads)
  largest = ReduceMax <keepdims = 1> (size)
  shorter = Gather(lengths, first_two)
  biggest = Max(largest, shorter)
  is_wider = Greater(biggest, narrow)
  wider = Cast <to = 7> (is_wider)
  width_log2 = ReduceSum <keepdims = 1> (wider)
  width = Gather(widths, width_log2)
  length = Gather(lengths, width_log2)
  numbers = Concat <axis = 0> (size, length)
  column = Unsqueeze(numbers, one)
FIELDS
  field_rows = Reshape(field_wide, four_columns)
  field_used = Slice(field_rows, first, width, one)
  field_bytes = Reshape(field_used, minus)
  width_bits = Mul(width_log2, sixteen)
  layout_wide = Add(width_bits, dimensions)
  layout = Cast <to = 2> (layout_wide)
  level = Reshape(quality, minus)
  content = Concat <axis = 0> (start, level, layout, field_bytes, states, flat)
  values = Cast <to = 7> (content)
  total = ReduceSum <keepdims = 0> (values)
  total_1 = Add(total, unit)
  low = Mod(total_1, prime)
  number = Size(content)
  up = Range(zero, number, unit)
  down = Sub(number, up)
  weighted = Mul(values, down)
  sum_b = ReduceSum <keepdims = 0> (weighted)
  sum_b_n = Add(sum_b, number)
  high = Mod(sum_b_n, prime)
  shift = Constant <value_int = 65536> ()
  high_shifted = Mul(high, shift)
  adler = Add(high_shifted, low)
CHECKSUM
  packet = Concat <axis = 0> (content, checksum)
}
"""

DECODER_HEAD = """
  eight = Constant <value_ints = [8]> ()
  nine = Constant <value_ints = [9]> ()
  body_end = Constant <value_ints = [-4]> ()
  axis = Constant <value_ints = [1]> ()
  sixteen = Constant <value_int = 16> ()
  four = Constant <value_int = 4> ()
  start = Constant <value_ints = [13]> ()
  fields = Constant <value_int = FIELDS> ()
  widths = Constant <value_ints = [1, 2, 4, 1]> ()
  status = Constant <value = uint8 {0}> ()
  layout_byte = Slice(packet, eight, nine)
  layout = Cast <to = 7> (layout_byte)
  layout_high = Div(layout, sixteen)
  width_log2 = Mod(layout_high, four)
  width = Gather(widths, width_log2)
  field_bytes = Mul(width, fields)
  body_at = Add(field_bytes, start)
  body = Slice(packet, body_at, body_end)
"""
"""Where the body is: behind a lane and fields of the width that the layout byte says."""
PICTURE_DECODER = """
<ir_version: 9, opset_import: ["" : 20]>
decoder (uint8[n] packet) => (uint8[H, W, C] output, uint8 status) {
HEAD
  first = Constant <value_ints = [0]> ()
  three = Constant <value_ints = [3]> ()
  all_places = Constant <value = int64[4] {1, 256, 65536, 16777216}> ()
  places = Slice(all_places, first, width)
  square = Concat <axis = 0> (three, width)
  size_length = Mul(width, three)
  size_end = Add(size_length, nine)
  size_bytes = Slice(packet, nine, size_end)
NUMBERS
  output = Reshape(body, size)
}
"""
PICTURE_DECODER = PICTURE_DECODER.replace("HEAD", DECODER_HEAD.replace("FIELDS", "4")).replace(
    "NUMBERS", of_bytes("size", "size_bytes", "square", "places")
)
WINDOW_DECODER = """
<ir_version: 9, opset_import: ["" : 20]>
decoder (uint8[n] packet) => (int16[N, 8, 2] output, uint8 status) {
HEAD
  pair_shape = Constant <value_ints = [-1, 2]> ()
  window_shape = Constant <value_ints = [-1, 8, 2]> ()
  bytes_of_two = Constant <value = int64[2] {1, 256}> ()
  half = Constant <value_int = 32768> ()
  whole = Constant <value_int = 65536> ()
NUMBERS
  raised = Add(unsigned, half)
  wrapped = Mod(raised, whole)
  signed = Sub(wrapped, half)
  small = Cast <to = 5> (signed)
  output = Reshape(small, window_shape)
}
"""
WINDOW_DECODER = WINDOW_DECODER.replace("HEAD", DECODER_HEAD.replace("FIELDS", "2")).replace(
    "NUMBERS", of_bytes("unsigned", "body", "pair_shape", "bytes_of_two")
)


def encoder(identity: Identity, values: str, body: str) -> str:
    """The encoder's graph, as text, of the type of its input and of what makes bytes of it."""
    dimensions = len(identity.size_axes)
    digest = ", ".join(str(number) for number in identity.codec_digest[:4])
    parts = {
        "INPUT": values,
        "BODY": body,
        "FIELDS": in_bytes("field_wide", "column", "places"),
        "CHECKSUM": in_bytes("checksum", "adler", "places"),
        "OVERHEADS": ", ".join(str(9 + width * (dimensions + 1) + 4 + 4) for width in (1, 2, 4)),
        "LAYOUT": str(dimensions - 1 << 6),
        "START": f"76, 87, 1, {digest}",
    }
    text = ENCODER
    for name, part in parts.items():
        text = text.replace(name, part)
    return text


def write(folder: Path, identity: Identity, roles: dict[str, str]) -> Path:
    """A folder with ``encoder.onnx`` and ``decoder.onnx``."""
    for role, text in roles.items():
        model = onnx.parser.parse_model(text)
        onnx.checker.check_model(model, full_check=True)
        document = json.dumps(Metadata(role, "fp32", "fp32", identity).to_json())
        onnx.helper.set_model_props(model, {METADATA_KEY: document})
        onnx.save(model, folder / f"{role}.onnx")
    return folder


def write_pictures(folder: Path) -> Path:
    """A codec of pictures."""
    text = encoder(PICTURES, "uint8[H, W, C]", PICTURE_BODY)
    return write(folder, PICTURES, {"encoder": text, "decoder": PICTURE_DECODER})


def write_windows(folder: Path) -> Path:
    """A codec of windows int16 [N, 8, 2]."""
    text = encoder(WINDOWS, "int16[N, 8, 2]", WINDOW_BODY)
    return write(folder, WINDOWS, {"encoder": text, "decoder": WINDOW_DECODER})


def register(folder: Path, module: str, groups: dict[str, dict[str, str]], code: str) -> Path:
    """What an installed distribution of somebody else's puts into a folder of ``sys.path``: a module, entry points."""
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"[{group}]\n" + "".join(f"{n} = {t}\n" for n, t in names.items()) for group, names in groups.items()]
    (about / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder
