"""What an operator or a load balancer asks: is it alive, and can it take work?"""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.requests import Request
from starlette.responses import Response

from serve_app.api.errors import JsonResponse, log_failure
from serve_app.api.service import Service
from serve_app.tasks.blobs import BlobsUnavailable

logger = logging.getLogger(__name__)

_FRESH_S = 2.0
_TIMEOUT_S = 5.0


class State:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._troubles: list[str] = []
        self._looked = float("-inf")
        self._looking = asyncio.Lock()

    async def health(self, _request: Request) -> Response:
        """Always 200, with detail. Asks no database: the room is what it was when somebody submitted."""
        seen = self._service.store.room_seen
        room = {"unfinished": seen.most, "tasks_per_second": seen.rate and round(seen.rate, 2)} if seen else {}
        return JsonResponse({**await self._service.health(), "room": room})

    async def ready(self, _request: Request) -> Response:
        """200 while a submit would be accepted, else 503 with what stands in its way."""
        async with self._looking:  # many may ask; one looks
            if time.monotonic() - self._looked > _FRESH_S:
                self._troubles = [trouble for trouble in await asyncio.gather(self._database(), self._bytes()) if trouble]
                self._looked = time.monotonic()
        ready = not self._troubles
        body = {"status": "ready" if ready else "not ready", "troubles": self._troubles}
        return JsonResponse(body, 200 if ready else 503, None if ready else {"Retry-After": "5"})

    async def _database(self) -> str | None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                unfinished, room = await self._service.store.count_unfinished(), await self._service.store.room()
        except Exception as error:
            log_failure("the task store", error)
            return f"the task database does not answer ({type(error).__name__})"
        if trouble := self._service.store.trouble:
            return f"the task database takes no tasks ({trouble})"
        full = room is not None and unfinished >= room.most
        return f"the queue is full: {unfinished} tasks are unfinished" if full else None

    async def _bytes(self) -> str | None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await self._service.blobs.probe()
        except BlobsUnavailable as error:
            logger.error("pictures cannot be stored: %s", error)
            return f"pictures cannot be stored: {error}"
        except TimeoutError:
            logger.error("pictures cannot be stored: no answer within %d s", _TIMEOUT_S)
            return f"pictures cannot be stored: no answer within {_TIMEOUT_S:.0f} s"
        except Exception as error:
            log_failure("the picture store", error)
            return f"pictures cannot be stored ({type(error).__name__})"
        return None
