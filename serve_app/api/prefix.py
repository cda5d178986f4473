"""The mode prefixes: /mj-fast/mj/..., /mj-relax/mj/..., /mj-turbo/mj/... are /mj/... with a mode."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

_PREFIX = re.compile(r"/mj-(fast|relax|turbo)(?=/mj/)")


def route_path(scope: Scope) -> str:
    """The path below the mount point, as the router sees it."""
    root, path = scope.get("root_path", ""), str(scope["path"])
    return path[len(root) :] if root and (path + "/").startswith(root + "/") else path


class ModePrefix:
    """ASGI middleware: takes the prefix off the path and leaves "fast", "relax" or "turbo" in scope["faceswap.mode"].

    The path as it came stays in scope["faceswap.path"].
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path, below = scope["path"], route_path(scope)
            found = _PREFIX.match(below)
            scope = {**scope, "faceswap.path": path, "faceswap.mode": found[1] if found else None}
            if found:
                scope["path"] = path.removesuffix(below) + below[found.end() :]
        await self._app(scope, receive, send)
