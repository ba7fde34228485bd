"""Programs that the demo runs by path, as processes of their own.

Run by path they import nothing of the export layer that they are packed with, only what they name:
`latentwire.runtime`, NumPy and the standard library, which is what a device has.
"""
