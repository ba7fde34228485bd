"""What comes from files and goes to them: items, pictures, results."""

from latentwire.runtime.files.arrays import NPY_MAGIC, ZIP_MAGIC, read_idx, read_images, read_items, read_npy, read_npz
from latentwire.runtime.files.items import conform, items_from_stdin, load_items, raw_items
from latentwire.runtime.files.pictures import PictureOptions, load_picture, picture_from
from latentwire.runtime.files.png import PngRows
from latentwire.runtime.files.results import FORMATS, contact_sheet, write_items
from latentwire.runtime.files.rows import LOSSY, OTHER_NAMES, PICTURE_FORMATS, row_sink

__all__ = [
    "FORMATS",
    "LOSSY",
    "NPY_MAGIC",
    "OTHER_NAMES",
    "PICTURE_FORMATS",
    "ZIP_MAGIC",
    "PictureOptions",
    "PngRows",
    "conform",
    "contact_sheet",
    "items_from_stdin",
    "load_items",
    "load_picture",
    "picture_from",
    "raw_items",
    "read_idx",
    "read_images",
    "read_items",
    "read_npy",
    "read_npz",
    "row_sink",
    "write_items",
]
