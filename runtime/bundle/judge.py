"""What a model may ask for, judged on the bytes of its ONNX file before ONNX Runtime sees them.

A model is a program that somebody else wrote. Read here, without a library, is every message of it down to the last
tensor: any that refers to another file, any operator that is not in `OPERATORS`, anything that no codec has (functions,
training graphs, sparse tensors, sequences, texts) is refused, and so are fields that this reader does not know, since
ONNX Runtime might. Where protobuf lets a field stand twice and readers differ in what they take, it may stand once.

What is left can still ask for much memory, or take long: that is found when it runs (`latentwire.runtime.session`).
"""

from __future__ import annotations

from dataclasses import dataclass

from latentwire.runtime.bundle.operators import DOMAINS, OPERATORS
from latentwire.runtime.errors import ManifestError, ModelError

MAX_MODEL = 1 << 29
"""Bytes of the largest ONNX file."""
MAX_NODES = MAX_TENSORS = 1 << 16
MAX_FIELDS = 1 << 21
"""Of all messages together: what reading them costs is bounded by it, a microsecond each."""
MAX_DEPTH = 4
"""Graphs within graphs, the outermost counted."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LENGTHS = {_FIXED64: 8, _FIXED32: 4}
_FORMS = {"int": _VARINT, "double": _FIXED64, "float": _FIXED32, "bytes": _BYTES}

_SCHEMA = {
    "model": "1 ir_version int, 2 producer_name bytes, 3 producer_version bytes, 4 domain bytes, 5 model_version int, "
    "6 doc_string bytes, 7 graph graph, 8* opset_import opset, 14* metadata_props entry, 20* training_info !, "
    "25* functions !, 26* configuration !",
    "graph": "1* node node, 2 name bytes, 5* initializer tensor, 10 doc_string bytes, 11* input value, "
    "12* output value, 13* value_info value, 14* quantization_annotation annotation, 15* sparse_initializer !, "
    "16* metadata_props entry",
    "node": "1* input bytes, 2* output bytes, 3 name bytes, 4 op_type bytes, 5* attribute attribute, "
    "6 doc_string bytes, 7 domain bytes, 8 overload bytes, 9* metadata_props entry, 10* device_configurations !",
    "attribute": "1 name bytes, 2 f float, 3 i int, 4 s bytes, 5 t tensor, 6 g graph, 7* floats float, 8* ints int, "
    "9* strings bytes, 10* tensors tensor, 11* graphs graph, 13 doc_string bytes, 14 tp type, 15* type_protos type, "
    "20 type int, 21 ref_attr_name !, 22 sparse_tensor !, 23* sparse_tensors !",
    "tensor": "1* dims int, 2 data_type int, 3 segment !, 4* float_data float, 5* int32_data int, 6* string_data !, "
    "7* int64_data int, 8 name bytes, 9 raw_data bytes, 10* double_data double, 11* uint64_data int, "
    "12 doc_string bytes, 13* external_data !, 14 data_location int, 16* metadata_props entry",
    "value": "1 name bytes, 2 type type, 3 doc_string bytes, 4* metadata_props entry",
    "type": "1 tensor_type dense, 4 sequence_type !, 5 map_type !, 6 denotation bytes, 7 opaque_type !, "
    "8 sparse_tensor_type !, 9 optional_type !",
    "dense": "1 elem_type int, 2 shape shape",
    "shape": "1* dim dimension",
    "dimension": "1 dim_value int, 2 dim_param bytes, 3 denotation bytes",
    "annotation": "1 tensor_name bytes, 2* quant_parameter_tensor_names entry",
    "entry": "1 key bytes, 2 value bytes",
    "opset": "1 domain bytes, 2 version int",
}
"""Messages of onnx.proto: number (with a star where it may stand often), name, and form or message; `!` is refused."""
_ELSEWHERE = "a tensor in another file: a model may refer to no file but its own"
_WHY = {"external_data": _ELSEWHERE, "functions": "functions of its own", "training_info": "a graph for training"}


@dataclass(frozen=True)
class _Field:
    name: str
    form: int
    many: bool
    message: str | None
    refused: bool

    @property
    def packs(self) -> bool:
        """Whether its numbers may also stand in one run of bytes."""
        return self.many and self.form != _BYTES


def _table(text: str) -> dict[int, _Field]:
    found = {}
    for entry in text.split(", "):
        number, name, what = entry.split()
        message = what if what in _SCHEMA else None
        form = _FORMS.get(what, _BYTES)
        found[int(number.rstrip("*"))] = _Field(name, form, number.endswith("*"), message, what == "!")
    return found


TABLES = {name: _table(text) for name, text in _SCHEMA.items()}


def check_model(data: bytes, where: str) -> None:
    """Nothing, if this is a model that a codec may be made of.

    Args:
        data: the whole ONNX file.
        where: its name, for messages.

    Raises:
        ModelError: it asks for what no codec needs; says what, and at which node or tensor.
        ManifestError: not an ONNX file.
    """
    if len(data) > MAX_MODEL:
        raise ModelError(f"{where}: expected a model of at most {MAX_MODEL} bytes, found {len(data)}: not a codec's")
    _Judge(data, where).message("model", 0, len(data), 0)


class _Judge:
    """Walks one file; counts what it has seen."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where = data, where
        self.nodes = self.tensors = self.fields = 0
        self.place = "the model"

    def message(self, kind: str, at: int, end: int, depth: int) -> None:
        """Judge the message of that kind in ``data[at:end]``, and all in it."""
        if kind in ("graph", "node", "tensor"):
            depth = self._enter(kind, depth)
        table, data, place, seen, texts = TABLES[kind], self.data, self.place, set[int](), dict[str, bytes]()
        while at < end:
            start = at
            key = data[at]
            at += 1
            if key > 127:
                key, at = self._varint(start, end)
            number, form = key >> 3, key & 7
            field = self._known(kind, table.get(number), number, form, start)
            if not field.many and number in seen:
                raise self._unfit(f"{field.name} once", "it again: readers differ in which one they take")
            seen.add(number)
            if form == _VARINT:
                value, at = self._varint(at, end)
                if field.name == "data_location" and value:
                    raise self._unfit("data in the model", _ELSEWHERE)
                continue
            length, at = self._varint(at, end) if form == _BYTES else (_LENGTHS[form], at)
            if at + length > end:
                raise self._broken(start)
            if field.message is not None:
                self.message(field.message, at, at + length, depth)
            elif kind == "node" and form == _BYTES:
                texts[field.name] = data[at : at + length]
            at += length
        if kind == "node":
            self.place = place
            self._check_operator(texts)

    def _enter(self, kind: str, depth: int) -> int:
        if kind == "graph":
            if depth >= MAX_DEPTH:
                raise self._unfit(f"at most {MAX_DEPTH} graphs within each other", "more")
            return depth + 1
        if kind == "node":
            self.nodes += 1
            self.place = f"node {self.nodes}"
        else:
            self.tensors += 1
            self.place = f"tensor {self.tensors}"
        if self.nodes > MAX_NODES or self.tensors > MAX_TENSORS:
            raise self._unfit(f"at most {MAX_NODES} nodes and {MAX_TENSORS} tensors", "more")
        return depth

    def _known(self, kind: str, field: _Field | None, number: int, form: int, start: int) -> _Field:
        self.fields += 1
        if self.fields > MAX_FIELDS:
            raise self._unfit(f"at most {MAX_FIELDS} fields", "more")
        if number == 0 or form not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
            raise self._broken(start)
        if field is None:
            raise self._unfit(f"fields of ONNX that are known here in a {kind}", f"number {number} at offset {start}")
        if field.refused:
            raise self._unfit("what codecs are made of", _WHY.get(field.name, f"{field.name} in a {kind}"))
        if form != field.form and not (field.packs and form == _BYTES):
            raise self._unfit(f"{field.name} in its own form", f"another at offset {start}")
        return field

    def _check_operator(self, texts: dict[str, bytes]) -> None:
        name, domain, operator = (
            texts.get(key, b"").decode("utf-8", "replace") for key in ("name", "domain", "op_type")
        )
        if domain not in DOMAINS or operator not in OPERATORS:
            shown = f"{domain}.{operator}"[:80] if domain else operator[:80]
            at = f"node {name[:80]!r}" if name else self.place
            raise ModelError(
                f"{self.where}, {at}: expected an operator that codecs are made of, found {shown!r}: "
                "docs/security.md has the list"
            )

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for place in range(min(10, end - at)):
            byte = self.data[at + place]
            value |= (byte & 127) << 7 * place
            if byte < 128:
                return value, at + place + 1
        raise self._broken(at)

    def _unfit(self, expected: str, found: str) -> ModelError:
        return ModelError(f"{self.where}, {self.place}: expected {expected}, found {found}")

    def _broken(self, offset: int) -> ManifestError:
        return ManifestError(f"{self.where}: expected an ONNX file, found no protobuf field at offset {offset}")
