"""POST /mj/insight-face/detect: the faces of a picture, so that people can choose."""

from __future__ import annotations

import asyncio
import logging

from starlette.requests import Request
from starlette.responses import Response

from serve_app.api.body import read_body, release_body
from serve_app.api.caller import Caller
from serve_app.api.errors import Answer, ApiError, envelope
from serve_app.api.fetch import Fetch
from serve_app.api.origin import client_address
from serve_app.api.per_key import PerKey
from serve_app.api.rate import Rates
from serve_app.api.service import Service
from serve_app.api.submission import checked, parse_detection

logger = logging.getLogger(__name__)

MOST = 8  # at a time per key and process
ANSWER_S = 60.0


class Detect:
    def __init__(self, service: Service, rates: Rates, fetch: Fetch) -> None:
        self._service = service
        self._rates = rates
        self._fetch = fetch
        self._running = PerKey(MOST, "looked at")

    async def faces(self, request: Request) -> Response:
        """Counts as a submit for the rates, and not for a key's quota: nothing is kept of it."""
        caller, limits = Caller.of(request), self._service.config.limits
        await self._rates.submit(caller.key, client_address(request.scope))
        with self._running.taken(caller.key):
            body = await read_body(request, limits.max_body_bytes)
            given = await asyncio.to_thread(parse_detection, body, limits)
            del body
            if given.data is None:
                release_body(request)  # as of a submit: see there
            (file,) = await self._fetch.files([given], caller)
            found = await self._look(await asyncio.to_thread(checked, given, file, limits))
        if error := found.get("error"):
            raise ApiError(Answer.TARGET_FORMAT, field=given.member, reason=str(error))
        return envelope(Answer.DETECTED, properties=found)

    async def _look(self, file: bytes) -> dict[str, object]:
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._service.detect(file)
        except Exception as error:
            logger.warning("a picture could not be looked at: %s", type(error).__name__)
            raise ApiError(Answer.BUSY, reason="Nobody can look at the picture now. Try again later.", retry_after=5) from None
