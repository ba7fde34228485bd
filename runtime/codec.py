"""What `Encoder` and `Decoder` have alike: the codec that they load, and how."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TypeVar

from latentwire.runtime.bundle import Bundle, Identity, Trust
from latentwire.runtime.errors import ProviderError, ResourceError
from latentwire.runtime.session import Asked, Chosen, Placement, alternatives, profile_named
from latentwire.runtime.source import Sessions, Source, open_source
from latentwire.runtime.wire import Limits

Half = TypeVar("Half", bound="CodecHalf")


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
        self._identity, self._origin = source.identity, source.origin
        self._limits = source.identity.limits.lowered_to(limits)
        self._profile = profile_named(profile)
        *others, last = alternatives(providers)
        for chosen in others:
            with contextlib.suppress(ProviderError, ResourceError):
                self._load(source, variant, chosen)
                return
        self._load(source, variant, last)

    @classmethod
    def from_pretrained(
        cls: type[Half],
        repo: str,
        *,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        variant: str | None = None,
        providers: Asked = None,
        profile: str = "device",
        limits: Limits | None = None,
        trust: Trust | None = None,
    ) -> Half:
        """A codec on the hub; only the files that this side needs are fetched, and each is checked.

        Args:
            repo: ``owner/name``.
            revision: commit, branch or tag; the main branch if None. `origin` has the commit that it was.
            token: of the hub; the hub library's own means (``hf auth login``, HF_TOKEN) if None.
            cache_dir: the cache; the library's own if None.
            local_files_only: ask nothing of the network.
            variant: of the transform, as for the class itself.
            providers: where it runs.
            profile: session options.
            limits: lower ones than the codec's.
            trust: what the codec has to be.

        Raises:
            BundleError: see `Bundle.from_hub`.
            MissingExtraError: the `hub` extra is not installed.
        """
        bundle = Bundle.from_hub(
            repo, revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only, trust=trust
        )
        return cls(bundle, variant=variant, providers=providers, profile=profile, limits=limits)

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
    def origin(self) -> str | None:
        """Its address on the hub, with the commit: ``hub:owner/name@COMMIT``; None where it was on this machine."""
        return self._origin

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
