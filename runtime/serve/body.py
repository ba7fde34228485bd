"""Reading a request's body: bounded in bytes and in time, whatever its headers say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from latentwire.runtime.serve.errors import BodySizeError, SlowBodyError
from latentwire.runtime.serve.intake import Budget

SLOWEST = 4096
"""Bytes that must arrive for every second beyond the first ones."""


@asynccontextmanager
async def read_body(request: Request, most: int, seconds: float, memory: Budget) -> AsyncIterator[bytes]:
    """The whole body; its bytes are charged to the memory of all requests until the block ends.

    Args:
        request: whose body was not yet read.
        most: bytes that it may have.
        seconds: that it may take, and one more for every `SLOWEST` bytes that have come.
        memory: of all requests.

    Raises:
        BodySizeError: it is longer, or says so.
        SlowBodyError: it takes longer.
        FullError: there is no memory for it.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        raise BodySizeError(f"expected a body of at most {most} bytes, found one of {declared}: send it in parts")
    chunks: list[bytes] = []
    charged = 0
    try:
        async for chunk in _in_time(request, seconds):
            if charged + len(chunk) > most:
                raise BodySizeError(f"expected a body of at most {most} bytes, found more: send it in parts")
            memory.charge(len(chunk))
            charged += len(chunk)
            chunks.append(chunk)
        yield chunks[0] if len(chunks) == 1 else b"".join(chunks)
    finally:
        memory.release(charged)


async def _in_time(request: Request, seconds: float) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    stream = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(stream.__anext__(), end - loop.time())
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError as fault:
            raise SlowBodyError(
                f"expected the body within {seconds} s and {SLOWEST} bytes a second, found less"
            ) from fault
        end += len(chunk) / SLOWEST
        if chunk:
            yield chunk
