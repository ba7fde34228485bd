"""Programs that the demo runs by path, as processes of their own.

Run as modules of `latentwire.export` they would import torch first; run by path they import what they name, and that is
`latentwire.runtime`, NumPy and the standard library: what a device has.
"""
