"""ONNX Runtime sessions: named profiles, and no silent fallback to another provider.

onnxruntime is imported when the first session is made, so that importing the runtime stays quick.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import (
    BundleError,
    CorruptPacketError,
    ForkError,
    LocalError,
    ModelError,
    ProviderError,
)
from latentwire.runtime.session.limits import RUN_SECONDS, Run, is_short_of_memory, short_of_memory
from latentwire.runtime.session.profiles import Profile
from latentwire.runtime.session.providers import ON_CPU, Chosen, known_provider

if TYPE_CHECKING:
    import onnxruntime as ort


Input = Any
"""An array, or one that `Session.held` put into an accelerator's memory (an OrtValue, which has no types)."""


@dataclass(frozen=True)
class Placement:
    """Where a model runs.

    Attributes:
        model: role and variant.
        providers: short names, the preferred one first.
        nodes: how many nodes of the optimised graph each of them took. None where ONNX Runtime does not tell: without
            an accelerator, and before 1.24.
    """

    model: str
    providers: tuple[str, ...]
    nodes: Mapping[str, int] | None


class Session:
    """One ONNX model, ready to run; safe to use from several threads.

    Args:
        model: the file's bytes.
        where: the file's name, for messages.
        providers: in order of preference; ONNX Runtime gives what they cannot run to the CPU.
        profile: session options.

    Raises:
        ProviderError: a provider is in the wheel but does not work on this machine, or takes no node of this model.
        ResourceError: there is too little memory for it.
        BundleError: ONNX Runtime refuses the file.
    """

    def __init__(self, model: bytes, where: str, providers: Sequence[Chosen], profile: Profile) -> None:
        import onnxruntime as ort

        self._on_cpu = on_cpu = tuple(providers) == ON_CPU
        options = _options(profile)
        if not on_cpu:
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        try:
            asked = [(entry.full_name, dict(entry.options)) for entry in providers]
            self._session = ort.InferenceSession(model, options, providers=asked)
        except Exception as fault:  # pybind's exceptions have no common base below Exception
            if is_short_of_memory(fault):
                raise short_of_memory(f"to load {where}", fault) from fault
            if not on_cpu:
                names = ", ".join(entry.full_name for entry in providers)
                raise ProviderError(f"{where}: expected to run on {names}, found: {fault}") from fault
            raise BundleError(
                f"{where}: expected a model that ONNX Runtime {ort.__version__} loads: {fault}"
            ) from fault
        self._session.disable_fallback()  # what fails later does so aloud as well
        self.where = where
        self.providers = tuple(self._session.get_providers())
        self.input_names = tuple(entry.name for entry in self._session.get_inputs())
        self._process = os.getpid()
        self._memory = providers[0].memory
        self._nodes = None if on_cpu else _assigned(self._session)
        self._check_providers([entry.full_name for entry in providers])

    @property
    def placement(self) -> Placement:
        """Where the model runs."""
        nodes = (
            None if self._nodes is None else {known_provider(name).name: count for name, count in self._nodes.items()}
        )
        return Placement(self.where, tuple(known_provider(name).name for name in self.providers), nodes)

    def _check_providers(self, wanted: Sequence[str]) -> None:
        # ONNX Runtime goes on with the CPU, and a warning, where a provider's own libraries are missing.
        missing = [name for name in wanted if name not in self.providers]
        if missing:
            raise ProviderError(
                f"{self.where}: expected to run on {', '.join(missing)}, found that ONNX Runtime falls back to "
                f"{', '.join(self.providers)}: install the driver and libraries, or ask for these providers"
            )
        if self._nodes is not None and not self._nodes.get(wanted[0]):
            raise ProviderError(
                f"{self.where}: expected nodes to run on {wanted[0]}, found that it takes none of "
                f"{sum(self._nodes.values())}: ask for another provider, or export a variant that it takes"
            )

    def held(self, value: Array) -> Input:
        """The value where the model reads it: an accelerator's memory, so that several runs copy it there once."""
        if self._memory is None:
            return value
        import onnxruntime as ort

        return ort.OrtValue.ortvalue_from_numpy(value, *self._memory)

    def run(self, outputs: Sequence[str], feed: Mapping[str, Input]) -> list[Array]:
        """Outputs by name, in the order asked for.

        Raises:
            ForkError: in a child process that was forked after the session was made.
            ResourceError: there is too little memory for what the model makes of this.
            ModelError: the model stops within the graph, or runs for more than ten minutes.
            ProviderError: it stops, with a provider other than the CPU.
        """
        try:
            return self._run(outputs, feed)
        except LocalError:
            raise
        except Exception as fault:  # pybind's exceptions have no common base below Exception
            if self._on_cpu:
                raise ModelError(f"{self.where}: expected a model that runs, found one that stops: {fault}") from fault
            raise ProviderError(
                f"{self.where}: expected {', '.join(self.providers)} to run it, found that they stop: {fault}"
            ) from fault

    def _run(self, outputs: Sequence[str], feed: Mapping[str, Input]) -> list[Array]:
        """As `run`, but what stops within the graph is ONNX Runtime's own error."""
        if os.getpid() != self._process:
            raise ForkError(
                f"{self.where}: expected the process {self._process} that loaded the model, found its fork "
                f"{os.getpid()}, which has none of its threads: make encoders and decoders after the fork"
            )
        work = self._run_plain if self._memory is None else self._run_bound
        run = Run()
        try:
            with run:
                return work(list(outputs), dict(feed), run.options)
        except Exception as fault:  # as above
            if run.ended:
                raise ModelError(
                    f"{self.where}: expected a model that is done within {RUN_SECONDS:g} seconds, found one that is "
                    "not: docs/security.md says more"
                ) from fault
            if is_short_of_memory(fault):
                raise short_of_memory(f"to run {self.where}", fault) from fault
            raise

    def _run_plain(self, outputs: list[str], feed: dict[str, Input], options: ort.RunOptions) -> list[Array]:
        found: list[Array] = self._session.run(outputs, feed, options)
        return found

    def _run_bound(self, outputs: list[str], feed: dict[str, Input], options: ort.RunOptions) -> list[Array]:
        """Inputs are bound where they lie, outputs to the CPU, where the coder or the caller takes them."""
        binding = self._session.io_binding()
        for name, value in feed.items():
            binding.bind_ortvalue_input(name, self.held(value) if isinstance(value, np.ndarray) else value)
        for name in outputs:
            binding.bind_output(name)
        self._session.run_with_iobinding(binding, options)
        found: list[Array] = binding.copy_outputs_to_cpu()
        return found

    def run_on_packet(self, outputs: Sequence[str], packet: Array) -> list[Array]:
        """Like `run` for a decoder; what the model cannot run on is the packet's fault.

        Raises:
            CorruptPacketError: ONNX Runtime stopped within the graph.
            LocalError: as in `run`, where it is not the packet that stops it.
        """
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        try:
            return self._run(outputs, {"packet": packet})
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
    # A file can be a model in both formats at once; only the one that was judged is loaded.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 4  # errors arrive as exceptions; a device's stderr stays ours
    return options


def _assigned(session: ort.InferenceSession) -> Counter[str] | None:
    """Nodes by the full name of the provider that took them; None where ONNX Runtime does not tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    found: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        found[part.ep_name] += len(part.get_nodes())
    return found


def scalar(value: int, dtype: Any) -> Array:
    """A value as an array without axes."""
    return np.asarray(value, dtype)
