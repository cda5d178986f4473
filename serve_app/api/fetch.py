"""Pictures that came only as URLs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import cast

from serve_app.api.caller import Caller
from serve_app.api.per_key import PerKey
from serve_app.api.service import Service
from serve_app.api.submission import Given, fetched

PER_KEY = 16


class Fetch:
    """One for all routes: it counts by key, so that one key's slow URLs leave connections, and requests, for others."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._fetching = PerKey(PER_KEY, "fetched")

    async def files(self, given: Sequence[Given], caller: Caller) -> list[bytes]:
        """The file of each picture. Raises ApiError."""
        config, missing = self._service.config, sum(one.data is None for one in given)
        get = partial(self._service.egress.get, timeout_s=config.picture_timeout_s)
        with self._fetching.taken(caller.key, missing):
            files = await asyncio.gather(*(fetched(one, get, config.limits) for one in given), return_exceptions=True)
        for found in files:
            if isinstance(found, BaseException):
                raise found
        return cast("list[bytes]", files)
