"""What a model may ask for: the files in models/ were made to get past, the graphs here are each one thing too many."""

import ast
import contextlib
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from latentwire.runtime import Encoder, open_bundle
from latentwire.runtime.bundle import check_model
from latentwire.runtime.bundle.judge import MAX_DEPTH, MAX_NODES, TABLES
from latentwire.runtime.bundle.operators import OPERATORS
from latentwire.runtime.errors import (
    BundleError,
    BundleNotFoundError,
    ManifestError,
    ModelError,
    ResourceError,
    TamperedError,
)

MODELS = Path(__file__).parent.parent / "corpus" / "onnx"
ITEMS = np.zeros((2, 784), np.uint8)
_NAMES = """
    Bernoulli ConcatFromSequence Dropout If ImageDecoder Loop Multinomial NegativeLogLikelihoodLoss
    NonMaxSuppression Optional OptionalGetElement OptionalHasElement RandomNormal RandomNormalLike RandomUniform
    RandomUniformLike RegexFullMatch SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert
    SequenceLength SequenceMap SoftmaxCrossEntropyLoss SplitToSequence StringConcat StringNormalizer StringSplit
    TfIdfVectorizer
"""
LEFT_OUT = set(_NAMES.split())


def model(*nodes: onnx.NodeProto, **parts: list) -> onnx.ModelProto:
    """uint8 [n] -> uint8 [m], by these nodes."""
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, [name]) for name in ("input", "packet")]
    graph = helper.make_graph(list(nodes), "g", ends[:1], ends[1:], **parts)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def node(operator: str = "Identity", domain: str | None = None, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, ["input"], ["packet"], name="it", domain=domain, **attributes)


def outside(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """The tensor, its data in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "token"
    return tensor


def numbers(name: str = "w") -> onnx.TensorProto:
    return numpy_helper.from_array(np.zeros(4, np.uint8), name)


def nested(depth: int, inner: onnx.NodeProto, **parts: list) -> onnx.NodeProto:
    """A Scan in a Scan in a ..., the innermost with that node."""
    body = helper.make_graph([inner], "body", [], [], **parts)
    for _ in range(depth):
        body = helper.make_graph([node("Scan", body=body, num_scan_inputs=1)], "body", [], [])
    return body.node[0]


def refused(made: onnx.ModelProto | bytes, match: str) -> None:
    data = made if isinstance(made, bytes) else made.SerializeToString()
    with pytest.raises(ModelError, match=match):
        check_model(data, "m.onnx")


@pytest.mark.parametrize("name", ["ext_token", "ext_rel", "loop", "loop_const"])
def test_a_model_that_reads_or_loops_is_refused_before_a_session_is_made(name, monkeypatch):
    monkeypatch.setattr("latentwire.runtime.source.Session", lambda *_: pytest.fail("a session was made"))
    with pytest.raises(ModelError, match="another file" if name.startswith("ext") else "Loop"):
        Encoder(MODELS / f"{name}.onnx")


@pytest.mark.parametrize("name", ["bomb_const", "bomb_run"])
@pytest.mark.parametrize("profile", ["device", "server"])
def test_a_model_that_wants_all_memory_is_told_by_name(name, profile):
    with pytest.raises(ResourceError, match="memory"):
        Encoder(MODELS / f"{name}.onnx", profile=profile).encode(ITEMS)


def test_what_an_encoder_returns_must_be_a_packet():
    encoder = Encoder(MODELS / "garbage_packet.onnx")
    with pytest.raises(ModelError, match="packet"):
        encoder.encode(ITEMS)


def test_a_packet_of_another_codec_size_or_quality_is_refused(bundle, digits, monkeypatch):
    encoder, packets = Encoder(bundle), {}
    for key, (items, quality) in {"whole": (digits[:3], 9), "short": (digits[:2], 9), "other": (digits[:3], 8)}.items():
        packets[key] = np.frombuffer(encoder.encode(items, quality), np.uint8)
    foreign = packets["whole"].copy()
    foreign[3] ^= 1
    session = encoder._sessions["encoder"]
    for returned in (packets["short"], packets["other"], foreign, packets["whole"][:-1], packets["whole"].astype("i4")):
        monkeypatch.setattr(session, "run", lambda *_, found=returned: [found])
        with pytest.raises(ModelError, match="packets of it"):
            encoder.encode(digits[:3], 9)
    monkeypatch.setattr(session, "run", lambda *_: [packets["whole"]])
    assert encoder.encode(digits[:3], 9) == packets["whole"].tobytes()


def test_other_files_are_found_wherever_a_tensor_may_stand():
    check_model(model(node(), initializer=[numbers()]).SerializeToString(), "m.onnx")
    away = outside(numbers())
    sparse = helper.make_sparse_tensor(numbers(), numpy_helper.from_array(np.zeros(4, np.int64), "i"), [9])
    refused(model(node(), initializer=[away]), "another file")
    refused(model(node("Constant", value=away)), "another file")
    refused(model(nested(2, node("Constant", value=away))), "another file")
    refused(model(nested(1, node(), initializer=[away])), "another file")
    refused(model(node("Constant", sparse_value=sparse)), "sparse_tensor")
    several = node("Constant")
    several.attribute.append(onnx.AttributeProto(name="many", tensors=[numbers(), away]))
    refused(model(several), "another file")
    only_named, only_located = numbers(), numbers()
    only_named.external_data.add().key = "location"
    only_located.data_location = TensorProto.EXTERNAL
    refused(model(node(), initializer=[only_named]), "another file")
    refused(model(node(), initializer=[only_located]), "another file")
    made = model(node())
    made.graph.sparse_initializer.append(sparse)
    refused(made, "sparse_initializer")


def test_functions_training_and_other_domains_are_refused():
    made = model(node())
    made.functions.append(helper.make_function("own", "Relu", ["x"], ["y"], [node("Loop")], []))
    refused(made, "functions")
    made = model(node())
    made.training_info.add()
    refused(made, "training")
    refused(model(node("EPContext", "com.microsoft")), r"'it': .*com\.microsoft\.EPContext")
    refused(model(node("Relu", "mine")), r"mine\.Relu")
    refused(model(nested(2, node("Loop"))), "Loop")
    for name in sorted(LEFT_OUT):
        refused(model(node(name)), name)
    for name in sorted(OPERATORS):
        check_model(model(node(name)).SerializeToString(), "m.onnx")


def test_types_that_are_no_tensors_and_texts_are_refused():
    made = model(node())
    made.graph.value_info.append(helper.make_value_info("s", helper.make_sequence_type_proto(made.graph.input[0].type)))
    refused(made, "sequence_type")
    refused(model(node("Constant", value=helper.make_tensor("t", TensorProto.STRING, [1], [b"a"]))), "string_data")


def test_there_is_an_end_to_nodes_and_depth():
    check_model(model(nested(MAX_DEPTH - 2, node())).SerializeToString(), "m.onnx")
    refused(model(nested(MAX_DEPTH, node())), "within each other")
    made = model(node())
    made.graph.node.extend([node()] * MAX_NODES)
    refused(made, "nodes")


def field(number: int, value: bytes | int) -> bytes:
    """A protobuf field, of a short text or a small number."""
    return bytes([number << 3, value]) if isinstance(value, int) else bytes([number << 3 | 2, len(value)]) + value


def test_bytes_that_readers_take_differently_are_refused():
    tensor = field(2, 2) + field(14, 0)
    graph = field(1, field(4, b"Relu"))
    check_model(field(7, field(5, tensor)), "m.onnx")
    check_model(field(7, graph), "m.onnx")
    refused(field(7, field(1, field(4, b"Loop") + field(4, b"Relu"))), "op_type once")
    refused(field(7, graph) + field(7, graph), "graph once")
    refused(field(7, field(5, field(14, 0) + field(14, 1))), "once")
    # An enumeration is cut to 32 bits by who reads it: 2^32 + 1 is "elsewhere".
    refused(field(7, field(5, b"\x70\x81\x80\x80\x80\x10")), "another file")
    refused(field(7, field(5, field(14, b"\1"))), "own form")
    refused(field(7, field(1, field(4, 3))), "own form")
    refused(field(7, b"\xf2\x01\0"), "number 30")
    for broken in (b"\x07", b"\x3a", b"\x3a\x05abc", b"\x3b\x3c", b"\xff" * 12, b"\0\0"):
        with pytest.raises(BundleError):
            check_model(broken, "m.onnx")


def test_the_reader_knows_every_field_of_onnx():
    """A newer ONNX has more; whoever installs it has to say what they mean."""
    kinds = {
        "model": onnx.ModelProto, "graph": onnx.GraphProto, "node": onnx.NodeProto, "attribute": onnx.AttributeProto,
        "tensor": onnx.TensorProto, "value": onnx.ValueInfoProto, "type": onnx.TypeProto,
        "dense": onnx.TypeProto.Tensor, "shape": onnx.TensorShapeProto, "dimension": onnx.TensorShapeProto.Dimension,
        "annotation": onnx.TensorAnnotation, "entry": onnx.StringStringEntryProto, "opset": onnx.OperatorSetIdProto,
    }  # fmt: skip
    assert kinds.keys() == TABLES.keys()
    forms = {1: 1, 2: 5, 3: 0, 4: 0, 5: 0, 9: 2, 11: 2, 12: 2, 14: 0}
    for kind, message in kinds.items():
        for entry in message.DESCRIPTOR.fields:
            known = TABLES[kind][entry.number]
            repeated = getattr(entry, "is_repeated", None)
            if repeated is None:  # protobuf before 6
                repeated = entry.label == entry.LABEL_REPEATED
            assert (known.name, known.many) == (entry.name, repeated)
            assert known.refused or known.form == forms[entry.type]
            if entry.message_type is not None and not known.refused:
                assert entry.message_type == kinds[known.message].DESCRIPTOR
        assert TABLES[kind].keys() == {entry.number for entry in message.DESCRIPTOR.fields}


def test_every_operator_of_onnx_is_taken_or_left_out():
    there = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    assert not OPERATORS & LEFT_OUT
    assert there >= OPERATORS
    assert there - OPERATORS <= LEFT_OUT


def test_changed_bytes_never_reach_further_than_the_judge(bundle):
    """Ten thousand mutations: each is taken or refused by name, and none makes the reader fail."""
    rng, data = np.random.default_rng(0), open_bundle(bundle).read_model("pack", "exact")
    small = bytearray((MODELS / "loop.onnx").read_bytes())
    for _ in range(10_000):
        changed = small.copy()
        for at in rng.integers(0, len(small), rng.integers(1, 4)):
            changed[at] = rng.integers(256)
        with contextlib.suppress(ModelError, ManifestError):
            check_model(bytes(changed[: rng.integers(1, len(changed) + 1)]), "m.onnx")
    for at in range(0, len(data), 997):
        with pytest.raises(ManifestError):
            check_model(data[:at] + b"\x0f", "m.onnx")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_in_a_files_place_is_refused_at_once(bundle, tmp_path, linked):
    def put(place: Path) -> None:
        place.unlink(missing_ok=True)
        pipe = tmp_path / "pipe" if linked else place
        if not pipe.exists():
            os.mkfifo(pipe)
        if linked:
            place.symlink_to(pipe)

    copied = Path(shutil.copytree(bundle, tmp_path / "copy"))
    put(copied / "encoder.fp32.onnx")
    put(tmp_path / "lone.onnx")
    put(tmp_path / "packed.zip")
    begun = time.monotonic()
    with pytest.raises(TamperedError, match="pipe"):
        Encoder(copied)
    with pytest.raises(BundleNotFoundError, match="pipe"):
        Encoder(tmp_path / "lone.onnx")
    with pytest.raises(ManifestError, match="pipe"):
        Encoder(tmp_path / "packed.zip")
    put(copied / "manifest.json")
    with pytest.raises(BundleNotFoundError, match="pipe"):
        open_bundle(copied)
    assert time.monotonic() - begun < 5


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_a_device_behind_a_link_is_refused(tmp_path):
    (tmp_path / "endless.onnx").symlink_to("/dev/zero")
    with pytest.raises(BundleNotFoundError, match="device"):
        Encoder(tmp_path / "endless.onnx")


def test_a_model_in_the_other_format_is_refused_by_name(tmp_path):
    (tmp_path / "encoder.ort").write_bytes(b"\0\0\0\0ORTM")
    with pytest.raises(ModelError, match="not judged"):
        Encoder(tmp_path / "encoder.ort")


def test_links_to_regular_files_are_followed(bundle, tmp_path, digits):
    (tmp_path / "codec").mkdir()
    for file in bundle.rglob("*"):
        if file.is_file():
            place = tmp_path / "codec" / file.relative_to(bundle)
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(file)
    assert Encoder(tmp_path / "codec").encode(digits[:3]) == Encoder(bundle).encode(digits[:3])


def test_a_run_that_does_not_end_is_ended(monkeypatch):
    """A Scan over 2^27 rows of nothing: no memory, and minutes; as many more rows as one likes take as little."""
    from latentwire.runtime.session import ON_CPU, Session, limits, profile_named, session

    body = helper.make_graph(
        [helper.make_node("Identity", ["s"], ["t"])], "body",
        [helper.make_tensor_value_info("s", 7, []), helper.make_tensor_value_info("x", 2, [0])],
        [helper.make_tensor_value_info("t", 7, [])],
    )  # fmt: skip
    made = model(
        helper.make_node("Shape", ["input"], ["length"]),
        helper.make_node("Mul", ["length", "shape"], ["rows"]),
        helper.make_node("ConstantOfShape", ["rows"], ["nothing"], value=helper.make_tensor("v", 2, [1], [0])),
        helper.make_node("Scan", ["zero", "nothing"], ["state"], body=body, num_scan_inputs=1),
        helper.make_node("Cast", ["state"], ["small"], to=2),
        helper.make_node("Reshape", ["small", "one"], ["packet"]),
        initializer=[
            helper.make_tensor("shape", 7, [2], [1 << 27, 0]),
            helper.make_tensor("zero", 7, [], [0]),
            helper.make_tensor("one", 7, [1], [1]),
        ],
    )
    data = made.SerializeToString()
    check_model(data, "m.onnx")  # nothing that a codec has not got
    endless = Session(data, "m.onnx", ON_CPU, profile_named("device"))
    monkeypatch.setattr(limits, "WATCH", limits.Watch(tick=0.05))
    monkeypatch.setattr(session, "Run", lambda: limits.Run(0.2))
    begun = time.monotonic()
    with pytest.raises(ModelError, match="seconds"):
        endless.run(["packet"], {"input": np.zeros(1, np.uint8)})
    assert time.monotonic() - begun < 10


def test_the_watch_goes_when_nothing_runs():
    from latentwire.runtime.session.limits import Run, Watch

    watch, run = Watch(tick=0.02), Run()
    watch.add(run)
    assert any(thread.name == "latentwire-watch" for thread in threading.enumerate())
    watch.remove(run)
    for _ in range(200):
        if watch._thread is None:
            break
        time.sleep(0.02)
    assert watch._thread is None and not run.ended


def test_the_runtime_has_no_other_door_to_onnx_runtime():
    """Sessions are made in one place, of bytes that were judged: `Sessions` and the self-test ask a bundle for them."""
    import latentwire.runtime as runtime

    root = Path(runtime.__file__).parent
    makers = set()
    for file in root.rglob("*.py"):
        for found in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(found, ast.Call) and getattr(found.func, "attr", getattr(found.func, "id", "")) in (
                "InferenceSession",
                "Session",
            ):
                makers.add(file.relative_to(root).as_posix())
    assert makers == {"session/session.py", "source.py", "selftest.py"}


def test_a_file_in_both_formats_is_loaded_as_what_was_judged(store, tmp_path):
    """ONNX Runtime takes "ORTM" at the fifth byte for its own format, in which nothing was judged."""
    plain = (store / "encoder.onnx").read_bytes()
    (tmp_path / "both.onnx").write_bytes(b"\x32\x84\x80\x00ORTM" + plain)  # a doc_string, its length in three bytes
    picture = np.zeros((4, 4, 3), np.uint8)
    found = Encoder(tmp_path / "both.onnx").encode(picture)
    assert found == Encoder(store / "encoder.onnx").encode(picture)
