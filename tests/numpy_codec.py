"""The whole packet in plain Python and NumPy, written from the packet's description and from nothing else.

Slow and clear. It shares no code with the runtime or the export, so that bytes on which both agree are right.

Rows [P, C] hold P positions of C channels. `frequency` [D, S] has rows that sum to 4096; its last column is the
escape, column k stands for symbol k - (S - 1) // 2. `index` [P, C] names the row of each element; row 0 is not coded,
its symbol is 0. Elements are taken in row-major order; element i is coded by lane i % lanes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LOW = 1 << 16
TOTAL = 4096
WIDTHS = {1: 0, 2: 1, 4: 2}


@dataclass(frozen=True)
class Fields:
    """Everything in a packet but the checksum."""

    codec: bytes
    quality: int
    lanes: int
    size: tuple[int, ...]
    body: bytes


def adler32(data: bytes) -> int:
    """RFC 1950, section 8.2."""
    a, b = 1, 0
    for byte in data:
        a = (a + byte) % 65521
        b = (b + a) % 65521
    return b << 16 | a


def write_fields(fields: Fields) -> bytes:
    """Put header and checksum around the body."""
    for width in WIDTHS:
        length = 9 + width * (len(fields.size) + 1) + len(fields.body) + 4
        if max(*fields.size, length) < 256**width:
            break
    lanes_log2 = fields.lanes.bit_length() - 1
    layout = lanes_log2 + 16 * WIDTHS[width] + 64 * (len(fields.size) - 1)
    data = b"LW" + bytes([1]) + fields.codec[:4] + bytes([fields.quality, layout])
    data += b"".join(n.to_bytes(width, "little") for n in [*fields.size, length]) + fields.body
    return data + adler32(data).to_bytes(4, "little")


def read_fields(packet: bytes) -> Fields:
    """The inverse of `write_fields`; ValueError names the first field that is wrong."""
    if packet[:3] != b"LW\x01":
        raise ValueError("magic or version")
    layout = packet[8]
    width, dimensions = {log2: width for width, log2 in WIDTHS.items()}[layout >> 4 & 3], (layout >> 6) + 1
    numbers = [int.from_bytes(packet[9 + width * i : 9 + width * (i + 1)], "little") for i in range(dimensions + 1)]
    if numbers[-1] != len(packet):
        raise ValueError("length")
    if adler32(packet[:-4]) != int.from_bytes(packet[-4:], "little"):
        raise ValueError("checksum")
    body = packet[9 + width * (dimensions + 1) : -4]
    return Fields(packet[3:7], packet[7], 1 << (layout & 15), tuple(numbers[:-1]), body)


def encode_rows(
    symbols: np.ndarray,
    index: np.ndarray,
    frequency: np.ndarray,
    *,
    size: tuple[int, ...],
    quality: int,
    codec_id: bytes,
    lanes: int,
) -> bytes:
    """The packet that holds `symbols` [P, C]."""
    states, words, escapes = encode_elements(symbols, index, frequency, lanes)
    body = b"".join(state.to_bytes(4, "little") for state in states)
    body += b"".join(word.to_bytes(2, "little") for word in words)
    body += b"".join(leb128(zigzag(value)) for value in escapes)
    return write_fields(Fields(codec_id[:4], quality, lanes, size, body))


def encode_elements(
    symbols: np.ndarray, index: np.ndarray, frequency: np.ndarray, lanes: int
) -> tuple[list[int], list[int], list[int]]:
    """(lane states, words in the decoder's order, escaped values in element order)."""
    columns = frequency.shape[1]
    start = np.cumsum(frequency, axis=1) - frequency
    elements, escapes = [], []
    for symbol, row in zip(symbols.ravel().tolist(), index.ravel().tolist(), strict=True):
        if row == 0:
            assert symbol == 0, "an element that is not coded must be 0"
            continue
        column = symbol + (columns - 1) // 2
        if not 0 <= column < columns - 1 or frequency[row, column] == 0:
            column = columns - 1
            escapes.append(symbol)
        elements.append((int(frequency[row, column]), int(start[row, column])))
    states = [LOW] * lanes
    return states, push(elements, states, LOW), escapes


def push(elements: list[tuple[int, int]], states: list[int], low: int) -> list[int]:
    """Code elements, (frequency, start) each, into the states of lanes that stay from ``low``; returns the words."""
    words = []
    # Backwards in time and, within a step, from the last lane to the first: the decoder reads it the other way round.
    for place in reversed(range(len(elements))):
        f, s = elements[place]
        x = states[place % len(states)]
        if x >= f * (low << 16) // TOTAL:
            words.append(x & 0xFFFF)
            x >>= 16
        states[place % len(states)] = x // f * TOTAL + x % f + s
    return words[::-1]


def decode_rows(packet: bytes, index: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Symbols [P, C]; ValueError if states, words and escapes are not used exactly."""
    fields = read_fields(packet)
    states = [int.from_bytes(fields.body[4 * i : 4 * i + 4], "little") for i in range(fields.lanes)]
    rest, at = fields.body[4 * fields.lanes :], 0
    start = np.cumsum(frequency, axis=1) - frequency
    columns, found = frequency.shape[1], []
    for place, row in enumerate(row for row in index.ravel().tolist() if row):
        x = states[place % fields.lanes]
        slot = x % TOTAL
        column = int(np.searchsorted(start[row] + frequency[row], slot, side="right"))
        x = int(frequency[row, column]) * (x // TOTAL) + slot - int(start[row, column])
        if x < LOW:
            x = x << 16 | int.from_bytes(rest[at : at + 2], "little")
            at += 2
        states[place % fields.lanes] = x
        found.append(column)
    if states != [LOW] * fields.lanes:
        raise ValueError("states")
    values = iter(read_leb128(rest[at:]))
    coded = iter([unzigzag(next(values)) if k == columns - 1 else k - (columns - 1) // 2 for k in found])
    if next(values, None) is not None:
        raise ValueError("escapes")
    flat = [next(coded) if row else 0 for row in index.ravel().tolist()]
    return np.array(flat, np.int32).reshape(index.shape)


def zigzag(value: int) -> int:
    """0, -1, 1, -2, ... to 0, 1, 2, 3, ..."""
    return -2 * value - 1 if value < 0 else 2 * value


def unzigzag(code: int) -> int:
    """The inverse of `zigzag`."""
    return -(code + 1) // 2 if code % 2 else code // 2


def leb128(value: int) -> bytes:
    """Seven bits a byte, lowest first; the top bit says that more follow."""
    found = bytearray()
    while value >= 128:
        found.append(value % 128 + 128)
        value //= 128
    return bytes(found) + bytes([value])


def read_leb128(data: bytes) -> list[int]:
    """All values; ValueError if the last one is not complete."""
    values, value, shift = [], 0, 0
    for byte in data:
        value |= byte % 128 << shift
        shift += 7
        if byte < 128:
            values.append(value)
            value, shift = 0, 0
    if shift:
        raise ValueError("escapes")
    return values
