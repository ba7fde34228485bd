"""The commands `sign` and `trust`; what a bundle has to be where it is loaded is `latentwire.runtime.bundle.Trust`."""

from latentwire.runtime.trust.sign import sign_bundle

__all__ = ["sign_bundle"]
