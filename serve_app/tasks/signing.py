"""Signs callbacks as standardwebhooks.com says, so that a receiver can tell them from anybody else's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from standardwebhooks import Webhook

from serve_app.tasks.keys import KeyRing
from serve_app.tasks.outbox import Callback


class Signer:
    """Headers of a try: webhook-timestamp, of this try, and webhook-signature, one for each secret. Nothing where there is no secret.

    A key's own secret signs what its tasks report; the common one signs for keys without one, and always for the operator's own hook,
    which knows no other. webhook-id is the callback's.
    """

    def __init__(self, keys: KeyRing, common: str | None = None, operators_hook: str | None = None) -> None:
        self._keys = keys
        self._common = common
        self._operators_hook = operators_hook

    async def __call__(self, callback: Callback, body: bytes) -> Mapping[str, str]:
        """Raises DatabaseUnavailable where the key cannot be asked for."""
        own = callback.task.owner if callback.hook != self._operators_hook else ""
        secret = (await self._keys.hook_secret(own) if own else None) or self._common
        if not secret:
            return {}
        now = datetime.now(UTC)
        text = body.decode()
        signatures = [_webhook(one).sign(callback.webhook_id, now, text) for one in secret.split()]
        return {"webhook-timestamp": str(int(now.timestamp())), "webhook-signature": " ".join(signatures)}


@lru_cache(256)
def _webhook(secret: str) -> Webhook:
    return Webhook(secret)
