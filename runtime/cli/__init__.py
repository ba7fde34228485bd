"""The command `latentwire`, and what the commands of other rooms and layers share with it."""

from latentwire.runtime.cli.documents import tell
from latentwire.runtime.cli.group import main
from latentwire.runtime.cli.options import (
    FILE,
    FOLDER,
    ExampleCommand,
    Option,
    Place,
    json_option,
    option_group,
    out_of_range_option,
    place_options,
    reading_options,
    signature_option,
)
from latentwire.runtime.cli.plugged import PluginGroup

__all__ = [
    "FILE",
    "FOLDER",
    "ExampleCommand",
    "Option",
    "Place",
    "PluginGroup",
    "json_option",
    "main",
    "option_group",
    "out_of_range_option",
    "place_options",
    "reading_options",
    "signature_option",
    "tell",
]
