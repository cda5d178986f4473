"""One form for each path: doubled slashes, a slash at the end, a doubled /mj and the mode prefixes are taken off.

/mj-fast/mj/task/1/fetch, /fast/mj/task/1/fetch, //mj/task/1/fetch/ and /mj/mj/task/1/fetch are all /mj/task/1/fetch.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

_SLASHES = re.compile("//+")
# Base URLs end in /mj, or hold the prefix, or both: any one segment before /mj, and /mj as often as it comes.
_PREFIX = re.compile(r"(?:(?:/mj)+/(mj-[A-Za-z0-9_-]+)|/([A-Za-z0-9_-]+))?(?:/mj)+(?=/|$)")
_MODE = re.compile("fast|relax|turbo")


def route_path(scope: Scope) -> str:
    """The path below the mount point, as the router sees it."""
    root, path = scope.get("root_path", ""), str(scope["path"])
    return path[len(root) :] if root and (path + "/").startswith(root + "/") else path


def plain_path(path: str) -> tuple[str, str | None]:
    """The route's own path, and "fast", "relax", "turbo" or None, the mode that the prefix named."""
    path = _SLASHES.sub("/", path)
    if len(path) > 1:
        path = path.removesuffix("/")
    found = _PREFIX.match(path)
    if not found:
        return path, None
    mode = _MODE.search(found[1] or found[2] or "")
    return "/mj" + path[found.end() :], mode[0] if mode else None


class ModePrefix:
    """ASGI middleware: gives the router the plain path, and leaves the mode in scope["faceswap.mode"].

    The path as it came stays in scope["faceswap.path"].
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path, below = scope["path"], route_path(scope)
            plain, mode = plain_path(below)
            scope = {**scope, "path": path.removesuffix(below) + plain, "faceswap.path": path, "faceswap.mode": mode}
        await self._app(scope, receive, send)
