"""tasks/hook_secret.py and tasks/signing.py, checked by the library of standardwebhooks.com at the other end of real HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import ip_network

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from serve_app.egress.address import AddressPolicy
from serve_app.egress.client import Egress
from serve_app.tasks.database import Database
from serve_app.tasks.delivery import Courier
from serve_app.tasks.hook_secret import checked, new_secret
from serve_app.tasks.keys import KeyRing
from serve_app.tasks.outbox import Outbox
from serve_app.tasks.signing import Signer
from serve_app.tasks.store import TaskStore
from tests.tasks.common import claimed, new, no_inputs
from tests.tasks.receiver import Heard, Receiver

Tell = Callable[..., Awaitable[Heard]]


@pytest.fixture
def courier(database: Database) -> Callable[[Signer], AbstractAsyncContextManager[Courier]]:
    @asynccontextmanager
    async def start(signer: Signer) -> AsyncIterator[Courier]:
        egress = Egress(AddressPolicy((ip_network("127.0.0.0/8"),)))
        await egress.start()
        courier = Courier(Outbox(database), lambda task: {"id": task.id, "state": task.state}, egress, sign=signer)
        await courier.start()
        try:
            yield courier
        finally:
            await courier.stop()
            await egress.close()

    return start


@pytest.fixture
def tell(database: Database, store: TaskStore, courier: Callable[[Signer], AbstractAsyncContextManager[Courier]]) -> Tell:
    """The request by which a hook hears of a task of this key."""

    async def heard(owner: str = "", common: str | None = None, operators: bool = False) -> Heard:
        async with Receiver() as hook:
            await store.submit(new(hook=hook.url, owner=owner, state="脸 \u2028"), no_inputs)
            task = await claimed(store)
            assert task.status == "SUBMITTED"
            async with courier(Signer(KeyRing(database), common, hook.url if operators else None)):
                return (await hook.has_heard(1))[0]

    return heard


def signed_with(heard: Heard, secret: str) -> bool:
    try:
        assert Webhook(secret).verify(heard.data, dict(heard.headers)) == json.loads(heard.data)
    except WebhookVerificationError:
        return False
    return True


async def test_a_callback_is_signed_as_the_library_checks_it(tell: Tell) -> None:
    secret = new_secret()
    heard = await tell(common=secret)
    assert heard.webhook_id.endswith("-SUBMITTED")
    assert signed_with(heard, secret)
    assert not signed_with(heard, new_secret())
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(heard.data + b" ", dict(heard.headers))


async def test_a_keys_own_secret_goes_before_the_common_one(tell: Tell, database: Database) -> None:
    own, common = new_secret(), new_secret()
    key, _ = await KeyRing(database).create("", hook_secret=own)
    other, _ = await KeyRing(database).create("")
    heard = await tell(key.id, common)
    assert (signed_with(heard, own), signed_with(heard, common)) == (True, False)
    heard = await tell(other.id, common)
    assert (signed_with(heard, own), signed_with(heard, common)) == (False, True)
    assert own not in repr(key)


async def test_the_operators_own_hook_knows_the_common_secret_alone(tell: Tell, database: Database) -> None:
    own, common = new_secret(), new_secret()
    key, _ = await KeyRing(database).create("", hook_secret=own)
    heard = await tell(key.id, common, operators=True)
    assert (signed_with(heard, own), signed_with(heard, common)) == (False, True)


async def test_while_secrets_change_both_are_good(tell: Tell) -> None:
    older, newer = new_secret(), new_secret()
    heard = await tell(common=checked(f"{newer}  {older}"))
    assert signed_with(heard, older)
    assert signed_with(heard, newer)


async def test_without_a_secret_there_is_no_signature(tell: Tell) -> None:
    heard = await tell("nobody")
    assert heard.webhook_id
    assert not {"webhook-signature", "webhook-timestamp"} & heard.headers.keys()


@pytest.mark.parametrize("size", [24, 32, 64])
def test_secrets_that_can_be(size: int) -> None:
    text = "whsec_" + base64.b64encode(bytes(range(size))).decode()
    assert checked(f" {text}\n") == text
    assert checked(text.rstrip("=")) == text.rstrip("=")


@pytest.mark.parametrize(
    "text", ["", "  ", "hunter2", "whsec_", "whsec_not base64!", "whsec_" + "A" * 20, "whsec_" + "A" * 200, "A" * 44, "whsec_" + "é" * 40]
)
def test_secrets_that_cannot_be_are_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="base64 of 24 to 64 random bytes") as raised:
        checked(text)
    assert not text.strip() or text.strip() == "whsec_" or text.strip() not in str(raised.value)
