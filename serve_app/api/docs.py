"""/openapi.json, and /docs: Swagger UI from a package of ours, nothing from elsewhere."""

from __future__ import annotations

from functools import lru_cache
from html import escape
from importlib.util import find_spec
from pathlib import Path

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from serve_app.api.openapi import document

_FILES = ("swagger-ui-bundle.js", "swagger-ui.css")
_CACHED = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}
_SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>faceswap-serve</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{root}/docs/swagger-ui.css">
<div id="page" data-document="{root}/openapi.json"></div>
<script src="{root}/docs/swagger-ui-bundle.js"></script>
<script src="{root}/docs/start.js"></script>
</html>
"""
_START = """const page = document.getElementById("page");
SwaggerUIBundle({ domNode: page, url: page.dataset.document, validatorUrl: null, deepLinking: true, tryItOutEnabled: true });
"""


class Docs:
    def __init__(self) -> None:
        # The package that brings the files is a FastAPI plugin; we want its folder, not its code.
        spec = find_spec("fastapi_offline")
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError("fastapi-offline, which brings the files of /docs, is not installed")
        self._folder = Path(spec.submodule_search_locations[0]) / "static"

    def table(self) -> list[Route]:
        return [
            Route("/openapi.json", self.openapi, methods=["GET"]),
            Route("/docs", self.page, methods=["GET"], include_in_schema=False),
            Route("/docs/{file}", self.file, methods=["GET"], include_in_schema=False),
        ]

    async def openapi(self, request: Request) -> Response:
        return Response(_document(request.scope.get("root_path", "")), media_type="application/json")

    async def page(self, request: Request) -> Response:
        root = escape(request.scope.get("root_path", ""), quote=True)
        return Response(_PAGE.replace("{root}", root), media_type="text/html", headers=_SAFE)

    async def file(self, request: Request) -> Response:
        name = request.path_params["file"]
        if name == "start.js":
            return Response(_START, media_type="text/javascript", headers=_CACHED)
        if name not in _FILES:
            raise HTTPException(404)
        return FileResponse(self._folder / name, headers=_CACHED)


@lru_cache(maxsize=4)
def _document(root: str) -> bytes:
    return orjson.dumps(document(root))
