"""The family's room in the runtime: a text format of its own beside what all items have."""

from __future__ import annotations

import numpy as np

from latentwire.runtime.families import Items


class Windows(Items):
    """Windows of a signal, which decode can also write as comma-separated values, one sample a line."""

    kind = "windows"
    formats = (*Items.formats, "csv")

    def write(self, sink, items, form):
        if form != "csv":
            return super().write(sink, items, form)
        np.savetxt(sink, items.reshape(-1, items.shape[2]), "%.6g", ",")


FAMILY = Windows()
