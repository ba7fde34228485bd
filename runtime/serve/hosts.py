"""Whose name a request is for, and which page it comes from.

Whoever needs no token is let in by where they are: on this machine. A page in a browser is there too, whoever made it.
Its requests to other hosts carry its address in Origin; and where its name was made to point here (DNS rebinding), they
carry that name in Host. Neither is let in.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from latentwire.runtime.net import is_loopback
from latentwire.runtime.serve.errors import HostError, OriginError

READS = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")

Refuse = Callable[[Request, Exception], Awaitable[Response]]


class OwnHosts:
    """An application that only answers under this machine's own names.

    Args:
        app: the application.
        names: other names that count.
        pages: whether other pages' requests are refused too: not where each needs a token, which they do not have.
        refuse: answers an error.
    """

    def __init__(self, app: ASGIApp, names: Collection[str], pages: bool, refuse: Refuse) -> None:
        self._app = app
        self._names = frozenset(name.lower().rstrip(".") for name in names)
        self._pages = pages
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] == "http":
            request = Request(scope, receive)
            try:
                self._check(request)
            except (HostError, OriginError) as fault:
                response = await self._refuse(request, fault)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, request: Request) -> None:
        found = request.headers.get("host", "")
        name = name_in(found)
        if name is None or not (is_loopback(name) or name in self._names):
            raise HostError(
                f"expected a name of this server in Host, found {found[:80]!r}: ask for it as localhost, or start it "
                "with --allowed-host NAME"
            )
        origin = request.headers.get("origin")
        if not self._pages or origin is None or request.method in READS:
            return
        authority = origin.partition("://")[2]
        if authority.lower() != found.lower() and name_in(authority) not in self._names:
            raise OriginError(f"expected a request of this server's own page, found one of {origin[:80]!r}")


def name_in(authority: str) -> str | None:
    """The name or address in ``name:port``, in small letters; None where there is none."""
    found = _AUTHORITY.fullmatch(authority)
    return None if found is None else (found[1] or found[2]).lower().rstrip(".")
