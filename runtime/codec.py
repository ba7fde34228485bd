"""What `Encoder` and `Decoder` have alike: the codec that they load, and how."""

from __future__ import annotations

import contextlib
from pathlib import Path

from latentwire.runtime.bundle import Bundle, Identity, Trust
from latentwire.runtime.errors import ProviderError, ResourceError
from latentwire.runtime.session import Asked, Chosen, Placement, alternatives, profile_named
from latentwire.runtime.source import Sessions, Source, open_source
from latentwire.runtime.wire import Limits


class CodecHalf:
    """One side of a codec.

    On the CPU an assembly does the whole work in one call. With an accelerator, and where one analysis or one
    synthesis serves several packets, the pieces do it: transforms where they were asked to run, the integer coder on
    the CPU.
    """

    _ROLE: str
    """The assembly."""
    _PIECES: tuple[str, str]
    """Its transform and its integer piece."""

    def __init__(
        self,
        codec: str | Path | Bundle,
        *,
        variant: str | None = None,
        providers: Asked = None,
        profile: str = "device",
        limits: Limits | None = None,
        trust: Trust | None = None,
    ) -> None:
        source = open_source(codec, trust)
        self._identity = source.identity
        self._limits = source.identity.limits.lowered_to(limits)
        self._profile = profile_named(profile)
        *others, last = alternatives(providers)
        for chosen in others:
            with contextlib.suppress(ProviderError, ResourceError):
                self._load(source, variant, chosen)
                return
        self._load(source, variant, last)

    def _load(self, source: Source, variant: str | None, providers: tuple[Chosen, ...]) -> None:
        """Take the models from there; what cannot run fails here."""
        self._variant = variant or source.variant_for(self._ROLE, providers[0].known.name)
        self._sessions = Sessions(source, self._variant, providers, self._profile)
        self._has_pieces = self._sessions.holds(*self._PIECES)
        self._by_pieces = self._sessions.accelerated and self._has_pieces
        self._look()
        _ = self._sessions[self._PIECES[0] if self._by_pieces else self._ROLE]

    def _look(self) -> None:
        """What is to be known of models before there are sessions of them."""

    @property
    def placement(self) -> tuple[Placement, ...]:
        """Which models do the work of one packet, and where each runs."""
        roles = self._PIECES if self._by_pieces else (self._ROLE,)
        return tuple(self._sessions[role].placement for role in roles)

    @property
    def identity(self) -> Identity:
        """What all files of the codec say alike: its family, both contracts, limits."""
        return self._identity

    @property
    def codec_id(self) -> str:
        """SHA-256 of the codec's contract, 64 hexadecimal digits."""
        return self._identity.codec_id

    @property
    def variant(self) -> str:
        """Variant of the transform in use."""
        return self._variant

    @property
    def limits(self) -> Limits:
        """What is accepted: the codec's limits, or the lower ones that were asked for."""
        return self._limits

    @property
    def default_quality(self) -> int:
        """Quality when none is asked for, 0..255."""
        return self._identity.default_quality

    @property
    def batches(self) -> bool:
        """Whether a packet may hold several items."""
        return self._identity.size_axes == (0,)
