"""Autoencoders as people write them, in their natural shape: what `export_codec` has to take as it stands.

Each is written anew after a kind that is common in public repositories, made small, and trained for a second on the
digits of scikit-learn or on synthetic signals. `ARCHITECTURES` lists them all; the suite exports each, and so does
`benchmarks/own_autoencoders.py`.
"""

from architectures.catalogue import ARCHITECTURES, Architecture, Case

__all__ = ["ARCHITECTURES", "Architecture", "Case"]
