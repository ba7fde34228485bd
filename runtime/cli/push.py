"""The command push: a bundle to a model hub."""

from __future__ import annotations

import click

from latentwire.runtime.bundle import open_bundle
from latentwire.runtime.cli.documents import tell
from latentwire.runtime.cli.options import ExampleCommand, json_option
from latentwire.runtime.errors import about


@click.command(cls=ExampleCommand, example="latentwire push my-codec owner/my-codec --license apache-2.0")
@click.argument("bundle")
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--private/--public", default=None, help="Of a repository that is made; what its owner has by default.")
@click.option("--license", metavar="NAME", help="The hub's short name of a license, for the metadata: apache-2.0, mit.")
@click.option("--message", "-m", help="Of the commit; the codec's name and id by default.")
@json_option()
def push(bundle: str, repo: str, private: bool | None, license: str | None, message: str | None, as_json: bool) -> None:
    """Send BUNDLE to the repository OWNER/NAME of a model hub, in one commit.

    Needs the hub extra, and to be logged in: `hf auth login`, or HF_TOKEN.
    """
    with about(bundle):
        done = open_bundle(bundle).push_to_hub(repo, private=private, license=license, message=message)
    if as_json:
        tell({"address": str(done.address), "url": done.url, "files": done.files})
    else:
        click.echo(f"{done.address}\n{done.files} files, {done.url}")
