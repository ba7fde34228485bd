"""What a file is that is not what was asked for: its first bytes as words for people.

Nothing here decides how a file is read. It is asked when reading has failed, so that the sentence can name the file's
kind; what is not known for certain is not named.
"""

from __future__ import annotations

import codecs
import re
import zipfile
from pathlib import Path

HEAD_BYTES = 1024
"""As many of a file's first bytes are enough to tell."""

ONNX_KIND, ZIP_KIND = "an ONNX file", "a zip"

PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF87a", "a GIF picture"),
    (b"GIF89a", "a GIF picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
)
ARRAYS = ((b"\x93NUMPY", "a NumPy array (.npy)"),)
OTHERS = (
    (b"\x1f\x8b", "a gzip file"),
    (b"SQLite format 3\0", "an SQLite database, such as a sender's spool: see `latentwire spool`"),
    (b"%PDF-", "a PDF file"),
    (b"\x7fELF", "a program"),
)
_PNM = re.compile(rb"P[1-6]\s")
_HEIF = re.compile(rb"....ftyp(heic|heix|hevc|mif1|msf1|avif|avis)", re.DOTALL)
_BMP = re.compile(rb"BM....\0\0\0\0", re.DOTALL)
_IDX = re.compile(rb"\0\0[\x08\x09\x0b\x0c\x0d\x0e][\x01-\x04]")
# The IR version as field 1, then any of the model's first fields: producer, domain, graph.
_ONNX = re.compile(rb"\x08[\x03-\x1f][\x12\x1a\x22\x2a\x32\x3a]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


def kind_of(head: bytes, name: str) -> str | None:
    """What a file is, with an article, or None where its first bytes do not tell.

    Args:
        head: its first bytes, `HEAD_BYTES` of them or all there are.
        name: its path, to look into a zip; any other text where it has none.
    """
    return picture_kind(head) or array_kind(head, name) or codec_kind(head, name) or _other_kind(head)


def picture_kind(head: bytes) -> str | None:
    """The same for pictures only."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "a WebP picture"
    if _PNM.match(head):
        return "a PNM picture"
    if _BMP.match(head):
        return "a BMP picture"
    if _HEIF.match(head):
        return "an AVIF picture" if head[8:11] == b"avi" else "a HEIF picture"
    return next((kind for magic, kind in PICTURES if head.startswith(magic)), None)


def array_kind(head: bytes, name: str) -> str | None:
    """The same for files of arrays only."""
    if _IDX.match(head):
        return "an IDX file"
    if head.startswith(b"PK\x03\x04") and any(member.endswith(".npy") for member in _members(name, top=True)):
        return "a file of NumPy arrays (.npz)"
    return next((kind for magic, kind in ARRAYS if head.startswith(magic)), None)


def codec_kind(head: bytes, name: str) -> str | None:
    """The same for what a codec is kept in, and for zips of anything."""
    if head[4:8] == b"ORTM":
        return "a model in ORT format"
    if _ONNX.match(head) and (name.endswith(".onnx") or b"onnx" in head or b"latentwire" in head):
        return ONNX_KIND
    if not head.startswith(b"PK\x03\x04"):
        return None
    return "a bundle (the zip of a codec)" if "manifest.json" in _members(name) else ZIP_KIND


def _members(name: str, *, top: bool = False) -> set[str]:
    """Names in a zip without their folders; those at its top only, if ``top``. Nothing where it cannot be read."""
    try:
        if not Path(name).is_file():
            return set()
        with zipfile.ZipFile(name) as archive:
            return {entry.rpartition("/")[2] for entry in archive.namelist() if not top or "/" not in entry}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return set()


def _other_kind(head: bytes) -> str | None:
    for magic, kind in OTHERS:
        if head.startswith(magic):
            return kind
    return _text_kind(head)


def _text_kind(head: bytes) -> str | None:
    """Text, told from bytes by being UTF-8 without control characters; a few bytes could be anything."""
    try:
        # Not final: the last character may be cut in two.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return None
    if len(head) < 4 or _CONTROL.search(text):
        return None
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith(("{", "[")):
        is_envelope = all(f'"{field}"' in start for field in ("device", "spool", "sequence"))
        return "an envelope (JSON that travels beside a packet)" if is_envelope else "JSON"
    return "HTML or XML" if start.startswith("<") else "text"
