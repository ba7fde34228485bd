"""Bundles signed by who made them: the commands `sign` and `trust`. What is asked of a bundle where it is loaded is
`latentwire.runtime.bundle.Trust`.
"""

from latentwire.runtime.trust.sign import sign_bundle

__all__ = ["sign_bundle"]
