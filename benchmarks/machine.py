"""What benchmarks say of the machine that their figures are from."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

VECTORS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "asimddp", "i8mm", "bf16")
"""Instructions of x86-64 and ARM64 that decide how long a network takes, as Linux names them."""


def machine() -> dict[str, Any]:
    """Processor, the vector instructions that matter, cores, and the versions of what computes."""
    vectors = cpuinfo("flags", "Features").split()
    return {
        "processor": cpuinfo("model name") or platform.processor() or platform.machine(),
        "vectors": [name for name in VECTORS if name in vectors],
        "cores": os.cpu_count(),
        "onnxruntime": version("onnxruntime"),
        "pillow": version("pillow"),
        "python": platform.python_version(),
    }


def cpuinfo(*names: str) -> str:
    """What Linux says of the first processor under one of these names; empty if nothing, or on another system."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in pairs if name.strip() in names), "")
