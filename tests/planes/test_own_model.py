"""The example of a model of one's own: a bundle like any other, and context that is worth something."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_images import picture

from latentwire.export import verify_bundle
from latentwire.export.measure import Coder, session
from latentwire.export.pictures import LIMITS
from latentwire.export.planes import analysis_piece, build_pack, build_unpack, codec_id
from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.selftest import selftest

EXAMPLE = Path(__file__).parents[2] / "examples/own_model.py"
PICTURES = [picture(130, 150, seed=k) for k in range(4)]


@pytest.fixture(scope="module")
def own_model():
    spec = importlib.util.spec_from_file_location("own_model", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["own_model"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["own_model"]


@pytest.mark.slow
def test_the_example_makes_a_codec(own_model, tmp_path):
    done = own_model.export(PICTURES[1:], PICTURES[:1], tmp_path / "codec")
    assert done.parity["passed"] and selftest(done.path).passed
    encoder, decoder = Encoder(done.path), Decoder(done.path)
    packets = [encoder.encode(PICTURES[0], quality) for quality in (0, 128, 255)]
    errors = [np.square(decoder.decode(packet) - PICTURES[0].astype(float)).mean() for packet in packets]
    assert len(packets[0]) < len(packets[1]) < len(packets[2]) and errors[0] > errors[1] > errors[2]
    assert decoder.decode(encoder.encode(PICTURES[0][:9, :5, :1])).shape == (9, 5, 1)
    assert verify_bundle(done.path, PICTURES[:1]).passed


@pytest.mark.slow
def test_context_takes_bytes_off(own_model):
    model = own_model.fit(PICTURES[1:])
    own = np.broadcast_to(np.arange(len(model.second))[:, None], model.second.shape)
    blind = replace(model, second=own.astype(np.int32))
    latents = session(analysis_piece(own_model.build_analysis())).run(None, {"input": PICTURES[0]})[0]
    lengths = []
    for choice in (model, blind):
        key = codec_id(choice)
        pieces = build_pack(choice, key), build_unpack(choice, key, LIMITS)
        coder = Coder(*(session(piece) for piece in pieces), (0, 1, 2))
        packet = coder.packet(latents, PICTURES[0].shape, 128)
        assert coder.restore(packet)["status"] == 0
        lengths.append(len(packet))
    assert lengths[0] < lengths[1]
