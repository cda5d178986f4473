"""The ASGI application: the routes and what stands before them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Lifespan

from serve_app.api.auth import Auth
from serve_app.api.config import ApiConfig
from serve_app.api.errors import ApiError, LastResort, no_route, refused
from serve_app.api.prefix import ModePrefix
from serve_app.api.routes import Routes
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Task

__all__ = ["ApiConfig", "create_app"]


def create_app(
    store: TaskStore,
    blobs: BlobStore,
    config: ApiConfig,
    on_accepted: Callable[[Task], None],
    health: Callable[[], Awaitable[dict[str, object]]],
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """The contract over HTTP. `on_accepted` hears of each task once its row is committed; `health` gives the members of /health."""
    app = Starlette(
        routes=Routes(store, blobs, config, on_accepted, health).table(),
        middleware=[
            # Browsers call from any page. Preflights carry no secret, so they are answered before anyone asks for it.
            Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"], max_age=86400),
            Middleware(LastResort),
            Middleware(ModePrefix),
            Middleware(Auth, secret=config.secret),
        ],
        exception_handlers={ApiError: refused, HTTPException: no_route},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a redirect would lose the body of a POST in many clients
    return app
