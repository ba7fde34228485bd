"""Damage to bytes, drawn at random."""

import random


def mutated(data: bytes, chance: random.Random) -> bytes:
    """One to four changes: bits, bytes, stretches taken out, repeated or put in."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(found) or 1)
        kind = chance.randrange(5)
        if kind == 0 and found:
            found[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and found:
            found[at] = chance.randrange(256)
        elif kind == 2:
            del found[at : at + chance.randrange(1, 20)]
        elif kind == 3:
            found[at:at] = found[at : at + chance.randrange(1, 20)]
        else:
            found[at:at] = chance.randbytes(chance.randrange(1, 20))
    return bytes(found)
