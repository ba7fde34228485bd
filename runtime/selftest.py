"""Does this machine do what the bundle was made to do? Runs its golden cases through every model it holds.

Exact: golden packets decode to the golden symbols, golden latents pack to the golden packets, and each encoder's own
packets decode with each decoder. Within a tolerance: the default decoder's output. Only reported: how many symbols an
encoder chooses differently here, and how far other variants' outputs are, since floats differ between machines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentwire.runtime.bundle import EXACT, Bundle, GoldenCase, open_bundle
from latentwire.runtime.contract import Array, ItemContract
from latentwire.runtime.decoder import Decoder
from latentwire.runtime.encoder import Encoder
from latentwire.runtime.errors import RemoteError, SelftestError
from latentwire.runtime.session import ON_CPU, Asked, Session, profile_named, scalar

FLOAT_TOLERANCE = 1e-4
"""Share of the contract's range by which a float output may differ; whole numbers may differ by one level."""


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        name: what was compared, and where.
        passed: whether it came out as recorded.
        detail: what was found, for a person.
    """

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class SelftestReport:
    """What a bundle does on this machine.

    Attributes:
        bundle: its name.
        codec_id: 64 hexadecimal digits.
        checks: in the order in which they ran.
    """

    bundle: str
    codec_id: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def raise_on_failure(self) -> None:
        """Nothing if all passed.

        Raises:
            SelftestError: names the checks that failed.
        """
        failed = [f"{check.name}: {check.detail}" for check in self.checks if not check.passed]
        if failed:
            raise SelftestError(
                f"expected all {len(self.checks)} checks to pass, found {len(failed)} that fail: {'; '.join(failed)}; "
                "do not use this codec on this machine"
            )

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        checks = [asdict(check) for check in self.checks]
        return {"bundle": self.bundle, "codec_id": self.codec_id, "passed": self.passed, "checks": checks}


def selftest(codec: str | Path | Bundle, *, profile: str = "device", providers: Asked = None) -> SelftestReport:
    """Check every file's hash and run the golden cases.

    Args:
        codec: bundle (open, folder or zip) or the name of a ready codec.
        profile: session options to test with.
        providers: where the transforms run, as for an `Encoder`.

    Raises:
        BundleError: the bundle cannot be loaded, or a file is not what the manifest records.
        ProviderError: a provider is not there, or cannot run a transform.
        SettingError: an unknown profile.
    """
    bundle = codec if isinstance(codec, Bundle) else open_bundle(codec)
    count = bundle.check_files()
    checks = [
        Check("files", True, f"{count} files have their recorded SHA-256"),
        *_Subject(bundle, profile, providers).checks(),
    ]
    return SelftestReport(str(bundle.path), bundle.manifest.codec_id, tuple(checks))


class _Subject:
    """The bundle's models, loaded once."""

    def __init__(self, bundle: Bundle, profile: str, providers: Asked) -> None:
        manifest = bundle.manifest
        self.bundle, self.golden = bundle, manifest.golden
        self.default_decoder = manifest.default_variant["decoder"]
        pack = bundle.read_model("pack", EXACT)
        self.pack = Session(pack, f"pack.{EXACT}", ON_CPU, profile_named(profile))
        options: dict[str, Any] = {"profile": profile, "providers": providers}
        self.encoders = {v: Encoder(bundle, variant=v, **options) for v in manifest.variants("encoder")}
        self.decoders = {v: Decoder(bundle, variant=v, **options) for v in manifest.variants("decoder")}
        self.items = bundle.read_array(self.golden.input)

    def checks(self) -> Iterator[Check]:
        for case in self.golden.cases:
            yield self.packed(case)
            yield self.unpacked(case)
            yield from (self.decoded(case, variant) for variant in self.decoders)
            yield from (self.encoded(case, variant) for variant in self.encoders)

    def packed(self, case: GoldenCase) -> Check:
        axes = self.bundle.manifest.size_axes
        size = np.asarray([self.items.shape[axis] for axis in axes], np.int64)
        latents = self.bundle.read_array(case.latents)
        feed = {"latents": latents, "quality": scalar(case.quality, np.uint8), "size": size}
        found = self.pack.run(["packet"], feed)[0].tobytes()
        wanted = self.bundle.read_file(case.packet)
        same = found == wanted
        detail = f"{len(wanted)} golden bytes" if same else f"{len(found)} bytes, not the {len(wanted)} golden ones"
        return Check(f"quality {case.quality}: golden latents to packet", same, detail)

    def unpacked(self, case: GoldenCase) -> Check:
        name = f"quality {case.quality}: golden packet to symbols"
        try:
            found = self.decoders[self.default_decoder].symbols(self.bundle.read_file(case.packet))
        except RemoteError as fault:
            return Check(name, False, str(fault))
        different = count_different(found, self.bundle.read_array(case.symbols))
        return Check(name, different == 0, f"{different} of {found.size} symbols differ")

    def decoded(self, case: GoldenCase, variant: str) -> Check:
        name = f"quality {case.quality}: golden packet to output, {variant} decoder"
        try:
            found = self.decoders[variant].decode(self.bundle.read_file(case.packet))
        except RemoteError as fault:
            return Check(name, False, str(fault))
        wanted, allowed = self.bundle.read_array(case.output), tolerance(self.bundle.manifest.output)
        if found.shape != wanted.shape:
            return Check(name, False, f"expected shape {list(wanted.shape)}, found {list(found.shape)}")
        gap = float(np.abs(found.astype(np.float64) - wanted).max())
        if variant == self.default_decoder:
            return Check(name, gap <= allowed, f"largest difference {gap:g}, at most {allowed:g} is allowed")
        return Check(name, True, f"decodes; largest difference from {self.default_decoder} {gap:g}")

    def encoded(self, case: GoldenCase, variant: str) -> Check:
        name = f"quality {case.quality}: {variant} encoder to every decoder"
        packet = self.encoders[variant].encode(self.items, case.quality)
        try:
            shapes = {decoder.decode(packet).shape for decoder in self.decoders.values()}
            found = self.decoders[self.default_decoder].symbols(packet)
        except RemoteError as fault:
            return Check(name, False, str(fault))
        different = count_different(found, self.bundle.read_array(case.symbols))
        detail = f"{len(packet)} bytes; {different} of {found.size} symbols differ from the golden ones"
        return Check(name, shapes == {self.items.shape}, detail)


def count_different(found: Array, wanted: Array) -> int:
    """How many elements differ; all of them where the shapes do."""
    return int((found != wanted).sum()) if found.shape == wanted.shape else max(found.size, wanted.size)


def tolerance(contract: ItemContract) -> float:
    """How far an output may be from the golden one, in the contract's units."""
    low, high = contract.range
    return FLOAT_TOLERANCE * (high - low) if contract.dtype == "float32" else 1.0
