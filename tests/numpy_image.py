"""The body of an image packet in plain Python, written from its description: stages, escapes first, then words.

Slow and clear, like `numpy_codec`, whose parts it uses. A stage is (symbols, rows), flat, elements that are not coded
left out. Each stage starts with a whole step of all lanes; what is missing at its end is filled with symbols of
probability one, which leave a lane's state alone.
"""

from __future__ import annotations

import numpy as np
import numpy_codec

Stage = tuple[np.ndarray, np.ndarray]
FILLER = (numpy_codec.TOTAL, 0)


def encode_stages(stages: list[Stage], frequency: np.ndarray, lanes: int) -> bytes:
    """Lane states, the number of escape bytes, the escapes, the words."""
    columns = frequency.shape[1]
    start = np.cumsum(frequency, axis=1) - frequency
    elements, escapes = [], []
    for symbols, rows in stages:
        stage = []
        for symbol, row in zip(symbols.tolist(), rows.tolist(), strict=True):
            column = symbol + (columns - 1) // 2
            if not 0 <= column < columns - 1 or frequency[row, column] == 0:
                column = columns - 1
                escapes.append(symbol)
            stage.append((int(frequency[row, column]), int(start[row, column])))
        missing = -len(stage) % lanes if stage else lanes
        elements += stage + [FILLER] * missing
    states, backwards = [numpy_codec.LOW] * lanes, []
    for place in reversed(range(len(elements))):
        f, s = elements[place]
        x = states[place % lanes]
        if x >= f << 20:
            backwards.append(x & 0xFFFF)
            x >>= 16
        states[place % lanes] = x // f * numpy_codec.TOTAL + x % f + s
    listed = b"".join(numpy_codec.leb128(numpy_codec.zigzag(value)) for value in escapes)
    body = b"".join(state.to_bytes(4, "little") for state in states)
    body += numpy_codec.leb128(numpy_codec.zigzag(len(listed))) + listed
    return body + b"".join(word.to_bytes(2, "little") for word in reversed(backwards))
