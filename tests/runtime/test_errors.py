import builtins
import inspect
import re

import pytest

from latentwire.runtime import errors
from latentwire.runtime.errors import LatentwireError, LocalError, RemoteError

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
LINE = re.compile(r"^( +)(\w+Error)(?: \((\w+)\))?  .*?(?:exit code (\d))?$", re.MULTILINE)


def documented() -> dict[str, tuple[str | None, str | None, str | None]]:
    """Class -> (parent, builtin, exit code) as the tree at the top of the file has them."""
    found, above = {}, {}
    for indent, name, builtin, code in LINE.findall(errors.__doc__ or ""):
        depth = len(indent) // 2
        above[depth] = name
        found[name] = (above.get(depth - 1, "LatentwireError"), builtin or None, code or None)
    return found


@pytest.mark.parametrize("kind", [k for k in CLASSES if k is not LatentwireError], ids=lambda kind: kind.__name__)
def test_the_tree_at_the_top_of_the_file_is_the_truth(kind):
    parent, builtin, code = documented()[kind.__name__]
    assert kind.__bases__[0].__name__ == parent
    assert issubclass(kind, getattr(builtins, builtin or "Exception"))
    inherited = documented().get(parent, (None, None, None))[2]
    assert kind.exit_code == int(code or inherited or 1)


def test_an_error_is_local_or_remote_never_both():
    for kind in CLASSES:
        assert not (issubclass(kind, LocalError) and issubclass(kind, RemoteError))
        assert kind is LatentwireError or issubclass(kind, LocalError | RemoteError)
