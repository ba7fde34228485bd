"""What comes from files and goes to them: items, pictures, results."""

from latentwire.runtime.files.arrays import NPY_MAGIC, ZIP_MAGIC, read_idx, read_npy, read_npz
from latentwire.runtime.files.formats import (
    IMAGE_SUFFIXES,
    LOSSY,
    OTHER_NAMES,
    PICTURE_FORMATS,
    RAW_SUFFIXES,
    image_files,
)
from latentwire.runtime.files.images import PictureOptions
from latentwire.runtime.files.items import (
    conform,
    items_from_stdin,
    load_items,
    raw_items,
    read_images,
    read_items,
    read_labelled,
)
from latentwire.runtime.files.kinds import (
    HEAD_BYTES,
    ONNX_KIND,
    ZIP_KIND,
    array_kind,
    codec_kind,
    kind_of,
    picture_kind,
)
from latentwire.runtime.files.pictures import each_picture, load_picture, picture_from, read_pictures
from latentwire.runtime.files.png import PngRows
from latentwire.runtime.files.results import FORMATS, contact_sheet, write_items
from latentwire.runtime.files.rows import row_sink

__all__ = [
    "FORMATS",
    "HEAD_BYTES",
    "IMAGE_SUFFIXES",
    "LOSSY",
    "NPY_MAGIC",
    "ONNX_KIND",
    "OTHER_NAMES",
    "PICTURE_FORMATS",
    "RAW_SUFFIXES",
    "ZIP_KIND",
    "ZIP_MAGIC",
    "PictureOptions",
    "PngRows",
    "array_kind",
    "codec_kind",
    "conform",
    "contact_sheet",
    "each_picture",
    "image_files",
    "items_from_stdin",
    "kind_of",
    "load_items",
    "load_picture",
    "picture_from",
    "picture_kind",
    "raw_items",
    "read_idx",
    "read_images",
    "read_items",
    "read_labelled",
    "read_npy",
    "read_npz",
    "read_pictures",
    "row_sink",
    "write_items",
]
