"""The ASGI application: the routes and what stands before them."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import Lifespan

from serve_app.api.auth import Auth
from serve_app.api.config import ApiConfig
from serve_app.api.edge import edge
from serve_app.api.errors import ApiError, Refusals
from serve_app.api.rate import Rates
from serve_app.api.routes import routes
from serve_app.api.service import Service

__all__ = ["ApiConfig", "Service", "create_app"]


def create_app(service: Service, lifespan: Lifespan[Starlette] | None = None) -> Starlette:
    """The contract over HTTP."""
    config, refusals = service.config, Refusals(service.record)
    rates = Rates(config.rates)
    auth = Middleware(Auth, secret=config.secret, keys=service.keys, rates=rates, allow_open=config.allow_open)
    app = Starlette(
        routes=routes(service, rates),
        middleware=[*edge(config, refusals), auth],
        exception_handlers={ApiError: refusals.refused, HTTPException: refusals.no_route},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a redirect would lose the body of a POST in many clients
    return app
