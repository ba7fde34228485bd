"""`python export_without_torch.py ENCODER DECODER ITEMS OUT`: an export with nothing but the extra `onnx` there.

Torch above all cannot be imported. Prints what decoded packets of the last 100 items say, JSON. A fifth argument is
more arguments of `export_codec`, JSON, and whether the bundle is verified once more ("verify").
"""

import importlib.machinery
import json
import sys
from pathlib import Path

MISSING = {
    "torch",
    "PIL",
    "matplotlib",
    "pytorch_msssim",
    "safetensors",
    "scipy",
    "skl2onnx",
    "sklearn",
    "tqdm",
    "keras",
}


class Without(importlib.machinery.PathFinder):
    """Finds what the path holds, but those."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in MISSING else super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Without

import numpy as np  # noqa: E402 - behind the finder

from latentwire.export import export_codec, verify_bundle  # noqa: E402
from latentwire.runtime import Decoder, Encoder  # noqa: E402
from latentwire.runtime.bundle import open_bundle  # noqa: E402

try:
    import torch  # noqa: F401
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("torch can be imported here")

encoder, decoder, items, out, *options = sys.argv[1:]
data, more = np.load(items), json.loads(options[0]) if options else {}
verify = more.pop("verify", False)
exported = export_codec((Path(encoder), Path(decoder)), data, out, precisions=("fp32", "int8"), **more)
held = data[-100:]
if verify:
    verify_bundle(exported.path, held).raise_on_failure()
packets = {quality: Encoder(exported.path).encode(held, quality) for quality in (128, 255)}
restored = {"fp32": Decoder(exported.path).decode(packets[255])}
variants = {role: open_bundle(exported.path).manifest.variants(role) for role in ("encoder", "decoder")}
if all("int8" in names for names in variants.values()):
    packet = Encoder(exported.path, variant="int8").encode(held, 255)
    restored["int8"] = Decoder(exported.path, variant="int8").decode(packet)
np.savez(Path(out).with_suffix(".npz"), **restored)
assert not MISSING & {name.partition(".")[0] for name in sys.modules}
print(json.dumps({"bytes": {quality: len(packet) for quality, packet in packets.items()}}))
