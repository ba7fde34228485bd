"""Kinds of picture files, in one table: what suffixes they have and what writes them.

What a file is when it is read, its first bytes tell (`holds_array`, Pillow). Suffixes choose the files of a folder
that are pictures and the format of a result, and tell values without a header, which nothing else could.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from latentwire.runtime.errors import InputFileError


@dataclass(frozen=True)
class PictureFormat:
    """One kind of picture files.

    Attributes:
        suffixes: of such files, without the dot; the first is the format's name.
        writer: who writes it: NumPy row by row, Pillow from the whole picture, or None: it would lose something again,
            or is written by nothing here.
        image: whether it is for pictures only, as arrays and raw values are not.
    """

    suffixes: tuple[str, ...]
    writer: Literal["rows", "whole"] | None
    image: bool = True


RAW = PictureFormat(("raw", "bin"), "rows", image=False)
"""Values without any header."""

TABLE = (
    PictureFormat(("npy",), "rows", image=False),
    RAW,
    PictureFormat(("png",), "rows"),
    PictureFormat(("ppm", "pgm", "pnm"), "rows"),
    PictureFormat(("bmp",), "whole"),
    PictureFormat(("tif", "tiff"), "whole"),
    PictureFormat(("webp",), "whole"),
    PictureFormat(("jpg", "jpeg", "jfif"), None),
    PictureFormat(("gif",), None),
    PictureFormat(("avif",), None),
    PictureFormat(("heic", "heif"), None),
    PictureFormat(("jp2",), None),
    PictureFormat(("jxl",), None),
)

PICTURE_FORMATS = tuple(entry.suffixes[0] for entry in TABLE if entry.writer)
"""What decoded pictures can be written as."""
WHOLE_FORMATS = tuple(entry.suffixes[0] for entry in TABLE if entry.writer == "whole")
"""Those that are written by Pillow, from the whole picture."""
OTHER_NAMES = {other: entry.suffixes[0] for entry in TABLE if entry.writer for other in entry.suffixes[1:]}
"""Formats by their other suffixes."""
LOSSY = tuple(suffix for entry in TABLE if not entry.writer for suffix in entry.suffixes)
"""Suffixes of pictures that would lose something again, or are written by nothing here."""
IMAGE_SUFFIXES = tuple(f".{suffix}" for entry in TABLE if entry.image for suffix in entry.suffixes)
"""Files of a folder with these are its pictures."""
RAW_SUFFIXES = tuple(f".{suffix}" for suffix in RAW.suffixes)


def image_files(folder: Path, *, below: bool) -> list[Path]:
    """The pictures of a folder, and of the folders below it if ``below``, in order of their paths.

    Raises:
        InputFileError: there are none.
    """
    found: Iterable[Path] = folder.rglob("*") if below else folder.iterdir()
    paths = sorted(path for path in found if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not paths:
        raise InputFileError(f"{folder}: expected images ({' '.join(IMAGE_SUFFIXES)}), found none")
    return paths
