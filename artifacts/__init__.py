"""Ready codecs (`pip install latentwire-codecs`): each is a bundle, the folder beside this file that bears its name."""

from pathlib import Path

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Names of the codecs that this installation holds, sorted."""
    return sorted(manifest.parent.name for manifest in _FOLDER.glob("*/manifest.json"))


def locate(name: str) -> Path:
    """Folder of the bundle of that name.

    Raises:
        KeyError: this installation holds no codec of that name.
    """
    if name not in names():
        raise KeyError(name)
    return _FOLDER / name
