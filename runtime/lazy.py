"""Names that a package imports when they are first asked for (PEP 562).

The layers above need torch, which takes seconds to import; their commands must be listed without it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence


def lazy_names(
    package: str, homes: Mapping[str, Sequence[str]], *, others: tuple[str, Sequence[str]] | None = None
) -> Callable[[str], object]:
    """A module's ``__getattr__``.

    Args:
        package: the package's ``__name__``.
        homes: public names by the submodule that defines them.
        others: a submodule and all public names of the package: those that ``homes`` has nowhere are the submodule's.
    """
    home_of = dict.fromkeys(others[1], others[0]) if others else {}
    home_of |= {name: home for home, names in homes.items() for name in names}

    def __getattr__(name: str) -> object:  # noqa: N807 - it becomes the module's hook of that name
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{home_of[name]}"), name)

    return __getattr__
