"""A picture codec that loses nothing and compresses nothing: two small graphs, written by hand, with real packets."""

import json
from pathlib import Path

import onnx
import pytest

from latentwire.runtime.bundle.identity import Identity, Metadata
from latentwire.runtime.bundle.onnxfile import METADATA_KEY
from latentwire.runtime.contract import ItemContract
from latentwire.runtime.wire.packet import Limits

CODEC_ID = "5107e0" + "00" * 29
CONTRACT = ItemContract("uint8", ("height", "width", (1, 3)), (0, 255))
STORE = Identity(
    CODEC_ID, "image", CONTRACT, CONTRACT, (0, 1, 2), Limits((65535, 65535, (1, 3)), area=3 << 20), default_quality=128
)
"""At most a megapixel in colour a packet."""

# Header fields of four bytes, one lane whose state is 0, the pixels as they are, Adler-32.
ENCODER = """
<ir_version: 9, opset_import: ["" : 20]>
encoder (uint8[H, W, C] input, uint8 quality) => (uint8[n] packet) {
  minus = Constant <value_ints = [-1]> ()
  one = Constant <value_ints = [1]> ()
  zero = Constant <value_int = 0> ()
  unit = Constant <value_int = 1> ()
  overhead = Constant <value_ints = [33]> ()
  places = Constant <value = int64[1, 4] {1, 256, 65536, 16777216}> ()
  byte = Constant <value_int = 256> ()
  prime = Constant <value_int = 65521> ()
  start = Constant <value = uint8[7] {76, 87, 1, 81, 7, 224, 0}> ()
  layout = Constant <value = uint8[1] {160}> ()
  states = Constant <value = uint8[4] {0, 0, 0, 0}> ()
  flat = Reshape(input, minus)
  shape = Shape(input)
  count = Shape(flat)
  length = Add(count, overhead)
  numbers = Concat <axis = 0> (shape, length)
  column = Unsqueeze(numbers, one)
  shifted = Div(column, places)
  digits = Mod(shifted, byte)
  fields = Cast <to = 2> (digits)
  field_bytes = Reshape(fields, minus)
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
  adler_digits = Div(adler, places)
  adler_bytes = Mod(adler_digits, byte)
  adler_cast = Cast <to = 2> (adler_bytes)
  checksum = Reshape(adler_cast, minus)
  packet = Concat <axis = 0> (content, checksum)
}
"""

DECODER = """
<ir_version: 9, opset_import: ["" : 20]>
decoder (uint8[n] packet) => (uint8[H, W, C] output, uint8 status) {
  nine = Constant <value_ints = [9]> ()
  size_end = Constant <value_ints = [21]> ()
  body_at = Constant <value_ints = [29]> ()
  body_end = Constant <value_ints = [-4]> ()
  square = Constant <value_ints = [3, 4]> ()
  places = Constant <value = int64[4] {1, 256, 65536, 16777216}> ()
  axis = Constant <value_ints = [1]> ()
  status = Constant <value = uint8 {0}> ()
  size_bytes = Slice(packet, nine, size_end)
  size_values = Cast <to = 7> (size_bytes)
  digits = Reshape(size_values, square)
  weighted = Mul(digits, places)
  size = ReduceSum <keepdims = 0> (weighted, axis)
  body = Slice(packet, body_at, body_end)
  output = Reshape(body, size)
}
"""


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``encoder.onnx`` and ``decoder.onnx``."""
    folder = tmp_path_factory.mktemp("store")
    for role, text in (("encoder", ENCODER), ("decoder", DECODER)):
        model = onnx.parser.parse_model(text)
        onnx.checker.check_model(model, full_check=True)
        document = json.dumps(Metadata(role, "fp32", "fp32", STORE).to_json())
        onnx.helper.set_model_props(model, {METADATA_KEY: document})
        onnx.save(model, folder / f"{role}.onnx")
    return folder
