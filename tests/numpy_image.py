"""The body of an image packet in plain Python, written from its description: stages, escapes first, then words.

Slow and clear, like `numpy_codec`, whose parts it uses. A stage is (symbols, rows), flat, elements that are not coded
left out: hyper-latents first, then the groups of latents. Each stage starts with a whole step of all lanes; what is
missing at its end is filled with symbols of probability one, which leave a lane's state alone. The last stage codes
magnitudes; its signs are the lanes' first states and, where those do not suffice, words after all others. Last states
below 2^23 take one of the bytes behind the states.
"""

from __future__ import annotations

import numpy as np
import numpy_codec

Stage = tuple[np.ndarray, np.ndarray]
FILLER = (numpy_codec.TOTAL, 0)
LOW = 1 << 15


def magnitude_table(one_sided: np.ndarray) -> np.ndarray:
    """Frequencies of 0, 1, ..., and the escape, of those that each sign has by itself."""
    return np.concatenate([one_sided[:, :1], 2 * one_sided[:, 1:-1], one_sided[:, -1:]], axis=1)


def signed_table(one_sided: np.ndarray) -> np.ndarray:
    """Frequencies of ..., -1, 0, 1, ..., and the escape."""
    return np.concatenate([one_sided[:, -2:0:-1], one_sided], axis=1)


def stage_elements(
    values: np.ndarray, columns: np.ndarray, rows: np.ndarray, frequency: np.ndarray
) -> tuple[list[tuple[int, int]], list[int]]:
    """(Frequency and start of each element, values that escaped)."""
    start = np.cumsum(frequency, axis=1) - frequency
    elements, escapes = [], []
    for value, column, row in zip(values.tolist(), columns.tolist(), rows.tolist(), strict=True):
        known = 0 <= column < frequency.shape[1] - 1 and frequency[row, column] > 0
        place = column if known else frequency.shape[1] - 1
        elements.append((int(frequency[row, place]), int(start[row, place])))
        if not known:
            escapes.append(value)
    return elements, escapes


def sign_words(values: np.ndarray, rows: np.ndarray, frequency: np.ndarray) -> list[int]:
    """16 signs a word, the first one lowest, 1 for negative; zeros and escapes have none."""
    bits = [
        int(value < 0)
        for value, row in zip(values.tolist(), rows.tolist(), strict=True)
        if value and abs(value) < frequency.shape[1] - 1 and frequency[row, abs(value)] > 0
    ]
    return [sum(bit << k for k, bit in enumerate(bits[at : at + 16])) for at in range(0, len(bits), 16)]


def encode_stages(stages: list[Stage], hyper: np.ndarray, one_sided: np.ndarray, lanes: int) -> bytes:
    """Lane states, the number of escape bytes, the escapes, the words.

    ``hyper`` [D, S] and ``one_sided`` [R, M + 1] are the frequencies of hyper-latents and latents.
    """
    signed, magnitudes = signed_table(one_sided), magnitude_table(one_sided)
    elements, escapes = [], []
    for at, (symbols, rows) in enumerate(stages):
        last = at == len(stages) - 1
        table = magnitudes if last else signed if at else hyper
        columns = np.abs(symbols) if last else symbols + (table.shape[1] - 1) // 2
        stage, escaped = stage_elements(symbols, columns, rows, table)
        elements += stage + [FILLER] * (-len(stage) % lanes if stage else lanes)
        escapes += escaped
    signs = sign_words(*stages[-1], magnitudes)
    states = [LOW + word for word in signs[:lanes]]
    states += [LOW] * (lanes - len(states))
    words = numpy_codec.push(elements, states, LOW)
    listed = b"".join(numpy_codec.leb128(numpy_codec.zigzag(value)) for value in escapes)
    behind = numpy_codec.leb128(numpy_codec.zigzag(len(listed))) + listed
    behind += b"".join(word.to_bytes(2, "little") for word in [*words, *signs[lanes:]])
    return fill(states, behind)


def fill(states: list[int], behind: bytes) -> bytes:
    """The states, those with room filled with bytes from behind them, and the bytes that are left."""
    filled = []
    for state in states:
        if state < 1 << 23 and behind:
            state, behind = 1 << 31 | state << 8 | behind[0], behind[1:]
        filled.append(state.to_bytes(4, "little"))
    return b"".join(filled) + behind
