from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from serve_app.api.app import ApiConfig
from serve_app.egress.client import Egress
from serve_app.metrics import Recorder, unrecorded
from serve_app.tasks.room import Bounds
from tests.api.support import MakeService, Service, build


@pytest.fixture
async def make_service(tmp_path: Path) -> AsyncIterator[MakeService]:
    """Make a service with these members of ApiConfig, open to everybody where it has no key; `egress` to `where` as in `build`."""
    async with AsyncExitStack() as stack:

        async def make(
            *,
            egress: Egress | None = None,
            bounds: Bounds | None = None,
            where: str | None = None,
            record: Recorder = unrecorded,
            **config: Any,
        ) -> Service:
            service = build(tmp_path, ApiConfig(**{"allow_open": True, **config}), egress=egress, bounds=bounds, where=where, record=record)
            stack.push_async_callback(service.database.close)
            await stack.enter_async_context(service.app.router.lifespan_context(service.app))
            await stack.enter_async_context(service.client)
            return service

        yield make


@pytest.fixture
async def service(make_service: MakeService) -> Service:
    """A service without a secret."""
    return await make_service()
