"""Pictures that came only as URLs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import cast

from serve_app.api.caller import Caller
from serve_app.api.errors import Answer, ApiError
from serve_app.api.service import Service
from serve_app.api.submission import Given, fetched

PER_KEY = 16


class Fetch:
    """One for all routes: it counts by key, so that one key's slow URLs leave connections, and requests, for others."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._fetching: Counter[str] = Counter()

    async def files(self, given: Sequence[Given], caller: Caller) -> list[bytes]:
        """The file of each picture. Raises ApiError."""
        config, missing = self._service.config, sum(one.data is None for one in given)
        if missing and self._fetching[caller.key] + missing > PER_KEY:
            raise ApiError(Answer.BUSY, reason=f"{PER_KEY} of your pictures are being fetched. Wait for them.", retry_after=1)
        get = partial(self._service.egress.get, timeout_s=config.picture_timeout_s)
        self._fetching[caller.key] += missing
        try:
            files = await asyncio.gather(*(fetched(one, get, config.limits) for one in given), return_exceptions=True)
        finally:
            self._fetching[caller.key] -= missing
            if not self._fetching[caller.key]:
                del self._fetching[caller.key]
        for found in files:
            if isinstance(found, BaseException):
                raise found
        return cast("list[bytes]", files)
