"""Where a request thinks that we live: the start of the links in its answers."""

from __future__ import annotations

import re

from starlette.requests import Request

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(:[0-9]{1,5})?")


def base_url(request: Request) -> str:
    """Scheme, host and mount point, no slash at the end. A Host header that is no host is not repeated in links."""
    scope = request.scope
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        name, port = scope.get("server") or ("localhost", None)
        name = f"[{name}]" if ":" in name else name
        host = f"{name}:{port}" if port else name
    return f"{scope.get('scheme', 'http')}://{host}{scope.get('root_path', '')}".rstrip("/")
