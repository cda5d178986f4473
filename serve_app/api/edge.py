"""What stands before everything else, in its order: no route and no key is asked before all of this has passed."""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from serve_app.api.body import BodyGate
from serve_app.api.config import ApiConfig
from serve_app.api.errors import LastResort, Refusals
from serve_app.api.language import Language
from serve_app.api.origin import TrustedProxies
from serve_app.api.prefix import ModePrefix
from serve_app.api.request_id import RequestId
from serve_app.api.traces import Traces

EXPOSED = ("x-request-id", "retry-after", "server-timing")


def edge(config: ApiConfig, refusals: Refusals) -> list[Middleware]:
    """The middlewares of the edge, outermost first. Whoever asks for keys comes behind them."""
    limits = config.limits
    return [
        # Browsers call from any page. Preflights carry no secret, so they are answered before anyone asks for it.
        Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"], expose_headers=EXPOSED, max_age=86400),
        # Before LastResort, whose answers and log lines have a language and an id.
        Middleware(RequestId, reply=config.reply_request_id),
        Middleware(Language),
        Middleware(Traces),
        Middleware(LastResort, refusals=refusals),
        # Before whatever counts by address.
        Middleware(TrustedProxies, networks=config.trusted_proxies),
        Middleware(ModePrefix),
        Middleware(
            BodyGate,
            timeout_s=limits.body_timeout_s,
            per_address=limits.max_bodies_per_address,
            max_bodies=limits.max_bodies,
            max_bytes=limits.max_bodies_bytes,
        ),
    ]
