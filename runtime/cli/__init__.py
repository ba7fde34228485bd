"""The command `latentwire`, and what the commands of other rooms share with it."""

from latentwire.runtime.cli.commands import asked, place_options, refuse_for
from latentwire.runtime.cli.group import main
from latentwire.runtime.cli.jobs import STDIO

__all__ = ["STDIO", "asked", "main", "place_options", "refuse_for"]
