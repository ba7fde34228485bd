"""The page of `latentwire serve --demo`: a browser is the device, and this service decodes what it sends.

    /                            the page
    /page/...                    its scripts and its style, in the folder page/ beside this file
    /page/encoder.onnx           the default encoder of the first codec that has one for pictures
    /page/onnxruntime/...        onnxruntime-web, from a folder that `make page` fills

Nothing comes from another host, and the page's own policy forbids it. It is isolated from other origins, which is what
browsers ask of a page whose WebAssembly has more than one thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from latentwire.runtime.errors import SettingError
from latentwire.runtime.session import CPU
from latentwire.runtime.source import open_source

PAGE = Path(__file__).resolve().parent / "page"
ASSETS = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""Of onnxruntime-web's dist folder."""
POLICY = {
    "default-src": "'none'",
    "script-src": "'self' 'wasm-unsafe-eval'",
    "worker-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {sources}" for name, sources in POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
"""A system's own table may say otherwise, and browsers run nothing then."""


class Files(StaticFiles):
    """Some files of one folder, with the page's headers; no other name is looked up."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        super().__init__(directory=folder, follow_symlink=True)
        self._names = frozenset(names)

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """(Full path, status), or nothing."""
        return super().lookup_path(path) if path in self._names else ("", None)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """The file, or that it has not changed."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS | {"Content-Type": TYPES[Path(full_path).suffix]})
        return response


def page_routes(bundles: Sequence[str | Path], assets: Path) -> list[BaseRoute]:
    """What the page needs of the service beside `POST /v1/packets`.

    Args:
        bundles: codecs that are served.
        assets: folder of onnxruntime-web's files.

    Raises:
        BundleError: a codec cannot be read.
        SettingError: none of them encodes pictures, or files are missing in the folder.
    """
    missing = [name for name in ASSETS if not (assets / name).is_file()]
    if missing:
        raise SettingError(
            f"expected onnxruntime-web in {assets}, found no {', '.join(missing)}: run `make page`, or "
            "`npm install onnxruntime-web` and name its folder with --page-assets node_modules/onnxruntime-web/dist"
        )
    model = picture_encoder(bundles)

    async def index(request: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers=HEADERS)

    async def encoder(request: Request) -> Response:
        return Response(model, media_type="application/octet-stream", headers=HEADERS)

    own = [file.name for file in PAGE.iterdir() if file.suffix in TYPES]
    return [
        Route("/", index),
        Route("/page/encoder.onnx", encoder),
        Mount("/page/onnxruntime", Files(assets, ASSETS)),
        Mount("/page", Files(PAGE, own)),
    ]


def picture_encoder(bundles: Sequence[str | Path]) -> bytes:
    """The encoder of the first codec of pictures that has one, as a CPU runs it: WebAssembly is most like that.

    Raises:
        SettingError: there is none.
    """
    for source in map(open_source, bundles):
        variant = source.variant_for("encoder", CPU.name)
        # Whatever the family: what the page's camera makes is a picture.
        if source.identity.input.is_picture and source.has("encoder", variant):
            return source.read("encoder", variant)
    raise SettingError(
        f"expected a codec of pictures with its encoder, found {', '.join(map(str, bundles))}: serve one such as photo"
    )
