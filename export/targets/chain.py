"""Sessions that encode and decode together, assemblies or pieces, fed by the names of what they have made so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from latentwire.export.measure import run_known
from latentwire.runtime.contract import Array

CODER = ("pack", "unpack")


@dataclass(frozen=True)
class Chain:
    """Sessions by role."""

    sessions: Mapping[str, ort.InferenceSession]

    def given(self, items: Array, quality: int, size_axes: Sequence[int]) -> dict[str, Array]:
        """What the encoder's models are given, by the names of their inputs."""
        size = np.asarray([items.shape[axis] for axis in size_axes], np.int64)
        return {"input": items, "quality": np.asarray(quality, np.uint8), "size": size}

    def packet(self, items: Array, quality: int, size_axes: Sequence[int]) -> Array:
        """Items as one packet, uint8 [n]."""
        known = self.given(items, quality, size_axes)
        if "encoder" in self.sessions:
            return run_known(self.sessions["encoder"], known)
        known["latents"] = run_known(self.sessions["analysis"], known)
        return run_known(self.sessions["pack"], known)

    def unpacked(self, packet: Array) -> dict[str, Array]:
        """What the first model of the decoder makes of a packet, by name."""
        model = self.sessions["decoder" if "decoder" in self.sessions else "unpack"]
        names = [entry.name for entry in model.get_outputs()]
        return dict(zip(names, model.run(None, {"packet": packet}), strict=True))

    def output(self, packet: Array) -> tuple[Array, int]:
        """(What a packet decodes to, the decoder's verdict on it: 0 for a good one)."""
        found = self.unpacked(packet)
        if "decoder" not in self.sessions:
            found["output"] = run_known(self.sessions["synthesis"], found)
        return found["output"], int(found["status"])

    def inputs(self, role: str) -> list[str]:
        """Names of a model's inputs."""
        return [entry.name for entry in self.sessions[role].get_inputs()]
