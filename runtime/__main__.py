"""`python -m latentwire.runtime` is the command `latentwire`."""

from latentwire.runtime.cli import main

main(prog_name="latentwire")
