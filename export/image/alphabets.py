"""What one column of a frequency table stands for: hyper-latents, latents with their signs, magnitudes alone."""

from __future__ import annotations

from dataclasses import dataclass

from latentwire.export.graph import INT64, Op, Value, table
from latentwire.export.image.tables import ImageTables


@dataclass(frozen=True)
class Alphabet:
    """Frequencies int64 [rows, columns]: the last column is the escape, column k stands for k - ``zero``."""

    frequency: Value
    rows: int
    columns: int
    zero: int


@dataclass(frozen=True)
class Alphabets:
    """The three of a codec. The last group of latents has magnitudes, whose signs come apart; the others have both."""

    hyper: Alphabet
    signed: Alphabet
    magnitudes: Alphabet


def alphabets(op: Op, tables: ImageTables) -> Alphabets:
    """Frequencies as the coders look them up, made of the stored ones when a session is created."""
    hyper = op.Cast(table(op, tables.hyper_frequency, "hyper_frequency"), to=INT64)
    one_sided = op.Cast(table(op, tables.frequency, "frequency"), to=INT64)
    rows, zero = tables.latent_rows, tables.magnitudes - 1
    certain, one_sign, escape = op.Split(one_sided, [1, zero, 1], axis=1, _outputs=3)
    other_sign = op.Slice(one_sign, [-1], [-(1 << 31)], [1], [-1])
    signed = op.Concat(other_sign, certain, one_sign, escape, axis=1)
    magnitudes = op.Concat(certain, op.Mul(one_sign, 2), escape, axis=1)
    hyper_rows, hyper_columns = tables.hyper_frequency.shape
    return Alphabets(
        Alphabet(hyper, hyper_rows, hyper_columns, (hyper_columns - 1) // 2),
        Alphabet(signed, rows, 2 * zero + 2, zero),
        Alphabet(magnitudes, rows, zero + 2, 0),
    )
