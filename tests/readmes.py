"""The code in the READMEs of targets' folders, run as it stands."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from matrix.environments import JAVASCRIPT, packages

FETCH = "import { readFileSync } from 'node:fs';\nglobalThis.fetch = async (p) => new Response(readFileSync(p));\n"
"""Files come from the folder where a browser would fetch them."""
COMPARE = """
const wanted = await load("GOLDEN");
const differs = packet.length !== wanted.length || packet.some((byte, at) => byte !== wanted[at]);
if (differs) throw new Error("another packet");
process.exit(0);
"""


def code_blocks(folder: Path, language: str) -> list[str]:
    """The README's code in a language."""
    parts = (folder / "README.md").read_text(encoding="utf-8").split(f"```{language}\n")[1:]
    return [part.partition("```")[0] for part in parts]


def run_javascript(folder: Path, tmp_path: Path, more: str = "") -> str:
    """What the README's JavaScript says in Node, with onnxruntime-web; its packet must be the golden one.

    Args:
        folder: of the target.
        tmp_path: where it runs.
        more: lines behind it.
    """
    packages(tmp_path)
    (block,) = code_blocks(folder, "javascript")
    block = block.replace('"onnxruntime-web/wasm"', '"onnxruntime-web"')  # which is Node's own build, in Node
    golden = json.loads((folder / "codec.json").read_text(encoding="utf-8"))["golden"]
    packet = golden["packets"][str(golden["output"]["quality"])]
    (tmp_path / "app.mjs").write_text(f"{FETCH}{block}{more}{COMPARE.replace('GOLDEN', packet)}")
    (tmp_path / "node_modules").symlink_to(JAVASCRIPT / "node_modules")
    command = ["node", "--preserve-symlinks", tmp_path / "app.mjs"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
