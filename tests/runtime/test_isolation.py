"""The runtime on a device: no torch, no onnx, no other layer, and quick to import."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BLOCKER = """
import sys

class Blocker:
    blocked = ("torch", "onnx", "onnxscript", "onnx_ir", "PIL", "tqdm", "matplotlib", "sklearn", "safetensors")

    def find_spec(self, name, path=None, target=None):
        if any(name == blocked or name.startswith(blocked + ".") for blocked in self.blocked):
            raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)

sys.meta_path.insert(0, Blocker())
"""

WORK = """
Blocker.blocked += ("latentwire.train", "latentwire.export")

import importlib
import pkgutil

import numpy as np

import latentwire.runtime

for module in pkgutil.iter_modules(latentwire.runtime.__path__):
    if module.name != "__main__":
        importlib.import_module(f"latentwire.runtime.{module.name}")

from latentwire.runtime import Decoder, Encoder, selftest

bundle, items = sys.argv[1], np.load(sys.argv[2])
packet = Encoder(bundle).encode(items, 200)
assert Decoder(bundle).decode(packet).shape == items.shape
selftest(bundle).raise_on_failure()
for name in Blocker.blocked:
    assert name not in sys.modules, name
print(len(packet))
"""

TIMED = """
import time
began = time.process_time()
import numpy
between = time.process_time()
import latentwire.runtime
print((time.process_time() - between) / (between - began))
"""


def fresh(code: str, *arguments: str, status: int = 0) -> str:
    """What a new interpreter prints."""
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == status, result.stderr
    return result.stdout


def test_the_runtime_works_where_torch_and_onnx_are_blocked(bundle: Path, digits: np.ndarray, tmp_path: Path):
    items = tmp_path / "items.npy"
    np.save(items, digits[:5])
    assert int(fresh(BLOCKER + WORK, str(bundle), str(items))) > 15


def test_pictures_need_no_pillow_unless_their_files_do(store: Path, tmp_path: Path):
    picture = np.arange(40 * 50 * 3, dtype=np.uint8).reshape(40, 50, 3)
    np.save(tmp_path / "a.npy", picture)
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code = BLOCKER + "from latentwire.runtime.cli import main\nmain()"
    fresh(code, "encode", f"{store}/encoder.onnx", f"{tmp_path}/a.npy", "-o", f"{tmp_path}/a.lw", "--tile", "32")
    fresh(code, "decode", f"{store}/decoder.onnx", f"{tmp_path}/a.lw", "-o", f"{tmp_path}/a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), picture)
    command = [sys.executable, "-c", code, "encode", f"{store}/encoder.onnx", f"{tmp_path}/b.png"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and "pip install 'latentwire[image]'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["train", "dense", "--data", ".", "--out", "run"], "train"),
        (["export", ".", "--out", "bundle"], "export"),
        (["verify", "."], "export"),
        (["demo"], "demo"),
    ],
)
def test_a_command_whose_extra_is_missing_says_which_to_install(arguments, extra, tmp_path):
    code = BLOCKER + f"from latentwire.runtime.cli import main\nmain({arguments})"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 2
    assert f"`latentwire {arguments[0]}` needs the {extra} extra" in result.stderr
    assert f"pip install 'latentwire[{extra}]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_help_lists_commands_whose_extra_is_missing():
    help_text = fresh(BLOCKER + "from latentwire.runtime.cli import main\nmain(['--help'])")
    for command in ("encode", "decode", "inspect", "selftest", "train", "export", "verify", "explore", "demo"):
        assert f"\n  {command} " in help_text


def test_importing_the_runtime_adds_little_to_importing_numpy():
    """A ratio, since machines differ: 0.4 to 0.7 measured; torch alone would add several times NumPy's share."""
    fresh(TIMED)  # once for the bytecode files; after that nothing is waited for, so the processor's time is all of it
    assert min(float(fresh(TIMED)) for _ in range(5)) < 1.5


def test_onnxruntime_waits_for_the_first_session():
    code = "import sys, latentwire.runtime\nprint('onnxruntime' in sys.modules)"
    assert fresh(code) == f"False{os.linesep}"


def test_click_waits_for_a_command():
    code = "import sys, latentwire.runtime, latentwire.runtime.send.sender\nprint('click' in sys.modules)"
    assert fresh(code) == f"False{os.linesep}"
