"""ONNX Runtime sessions: named profiles, providers by short name, and no silent fallback to another provider.

onnxruntime is imported when the first session is made, so that importing the runtime stays quick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import BundleError, CorruptPacketError, ProviderError, SettingError

if TYPE_CHECKING:
    import onnxruntime as ort


@dataclass(frozen=True)
class Profile:
    """Session options for one kind of place; see `Profiles`."""

    threads: int
    """Threads inside one operator; 0 lets ONNX Runtime take a thread for each core."""
    spinning: bool
    """Whether idle threads burn power to answer sooner."""
    arena: bool
    """Whether freed memory is kept for the next run. Without it the process stays at what it needs."""
    unpack_threads: int
    """Packets that are unpacked at once."""


class Profiles(Enum):
    """The two named sets of options."""

    DEVICE = Profile(threads=1, spinning=False, arena=False, unpack_threads=1)
    """Lowest latency of one small item on one core, lowest power and memory."""
    SERVER = Profile(threads=0, spinning=True, arena=True, unpack_threads=4)
    """Throughput."""


def profile_named(name: str) -> Profile:
    """The profile of that name.

    Raises:
        SettingError: there is none.
    """
    names = [profile.name.lower() for profile in Profiles]
    if name not in names:
        raise SettingError(f"expected a profile of {', '.join(names)}, found {name!r}")
    return Profiles[name.upper()].value


@dataclass(frozen=True)
class Provider:
    """An execution provider of ONNX Runtime and the wheel that brings it."""

    name: str
    full_name: str
    wheel: str


CPU = Provider("cpu", "CPUExecutionProvider", "onnxruntime")
PROVIDERS = (
    CPU,
    Provider("cuda", "CUDAExecutionProvider", "onnxruntime-gpu"),
    Provider("tensorrt", "TensorrtExecutionProvider", "onnxruntime-gpu"),
    Provider("directml", "DmlExecutionProvider", "onnxruntime-directml"),
    Provider("coreml", "CoreMLExecutionProvider", "onnxruntime (macOS)"),
    Provider("openvino", "OpenVINOExecutionProvider", "onnxruntime-openvino"),
    Provider("qnn", "QNNExecutionProvider", "onnxruntime-qnn"),
    Provider("xnnpack", "XnnpackExecutionProvider", "a build of onnxruntime with XNNPACK"),
    Provider("migraphx", "MIGraphXExecutionProvider", "onnxruntime-migraphx"),
    Provider("webgpu", "WebGpuExecutionProvider", "onnxruntime-webgpu"),
)


def resolve_providers(names: Sequence[str] | None) -> tuple[str, ...]:
    """Full names of the providers asked for, all of them there.

    Args:
        names: short names ("cpu", "cuda") or ONNX Runtime's own; None for the CPU.

    Raises:
        ProviderError: one is not in this installation of ONNX Runtime; says which are, and what brings it.
        SettingError: an empty list, or text instead of a list.
    """
    if names is None:
        return (CPU.full_name,)
    if isinstance(names, str) or not names:
        raise SettingError(f"expected a list of provider names, found {names!r}: pass ['cpu'] or None")
    import onnxruntime as ort

    available = ort.get_available_providers()
    return tuple(_resolve(name, available) for name in names)


def _resolve(name: str, available: Sequence[str]) -> str:
    known = next((p for p in PROVIDERS if name in (p.name, p.full_name)), Provider(name, name, "no wheel known here"))
    if known.full_name not in available:
        raise ProviderError(
            f"expected provider {known.full_name}, found only {', '.join(available)}: it comes with {known.wheel}"
        )
    return known.full_name


class Session:
    """One ONNX model, ready to run; safe to use from several threads.

    Args:
        model: the file's bytes.
        where: the file's name, for messages.
        providers: full names, from `resolve_providers`.
        profile: session options.

    Raises:
        ProviderError: a provider is in the wheel but does not work on this machine.
        BundleError: ONNX Runtime refuses the file.
    """

    def __init__(self, model: bytes, where: str, providers: tuple[str, ...], profile: Profile) -> None:
        import onnxruntime as ort

        try:
            self._session = ort.InferenceSession(model, _options(profile), providers=list(providers))
        except Exception as fault:  # pybind's exceptions have no common base below Exception
            if providers != (CPU.full_name,):
                raise ProviderError(f"{where}: expected to run on {', '.join(providers)}, found: {fault}") from fault
            raise BundleError(
                f"{where}: expected a model that ONNX Runtime {ort.__version__} loads: {fault}"
            ) from fault
        self.where = where
        self.providers = tuple(self._session.get_providers())
        self.input_names = tuple(entry.name for entry in self._session.get_inputs())
        self._check_providers(providers)

    def _check_providers(self, wanted: tuple[str, ...]) -> None:
        # ONNX Runtime goes on with the CPU, and a warning, where a provider's own libraries are missing.
        missing = [name for name in wanted if name not in self.providers]
        if missing:
            raise ProviderError(
                f"{self.where}: expected to run on {', '.join(missing)}, found that ONNX Runtime falls back to "
                f"{', '.join(self.providers)}: install the driver and libraries, or ask for these providers"
            )

    def run(self, outputs: Sequence[str], feed: Mapping[str, Array]) -> list[Array]:
        """Outputs by name, in the order asked for."""
        found: list[Array] = self._session.run(list(outputs), dict(feed))
        return found

    def run_on_packet(self, outputs: Sequence[str], packet: Array) -> list[Array]:
        """Like `run` for a decoder; what the model cannot run on is the packet's fault.

        Raises:
            CorruptPacketError: ONNX Runtime stopped within the graph.
        """
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        try:
            return self.run(outputs, {"packet": packet})
        except (state.RuntimeException, state.InvalidArgument, state.Fail) as fault:
            raise CorruptPacketError(
                f"expected a packet that decodes, found one that stops {self.where}: {fault}"
            ) from fault


def _options(profile: Profile) -> ort.SessionOptions:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = profile.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = profile.arena
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(profile.spinning)))
    options.log_severity_level = 4  # errors arrive as exceptions; a device's stderr stays ours
    return options


def scalar(value: int, dtype: Any) -> Array:
    """A value as an array without axes."""
    return np.asarray(value, dtype)
