"""deployments/access.py: without a key only loopback is served."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from serve_app.deployments.access import outward, refuse_open
from serve_app.secrets import Secrets
from serve_app.settings import Settings
from serve_app.tasks.database import open_database
from serve_app.tasks.keys import KeyRing
from serve_app.tasks.migrate import migrate

NO_SECRET = Secrets(secret=None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def make_and_revoke_a_key(settings: Settings) -> None:
    async def work() -> None:
        database = open_database(settings.database)
        ring = KeyRing(database)
        key, _ = await ring.create("")
        assert await ring.revoke(key.id)
        await database.close()

    migrate(settings.database)
    asyncio.run(work())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_loopback_needs_no_key(settings: Settings, host: str) -> None:
    refuse_open(host, settings, NO_SECRET)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "no such host"])
def test_any_other_address_does_and_the_message_says_what_to_do(settings: Settings, host: str) -> None:
    with pytest.raises(ValueError, match="faceswap key create"):
        refuse_open(host, settings, NO_SECRET)
    refuse_open(host, settings, Secrets(secret=SecretStr("x")))
    refuse_open(host, settings.model_copy(update={"allow_open": True}), NO_SECRET)


def test_a_service_whose_keys_are_all_revoked_is_closed_not_open(settings: Settings) -> None:
    make_and_revoke_a_key(settings)
    refuse_open("0.0.0.0", settings, NO_SECRET)


@pytest.mark.parametrize(("host", "kept"), [("127.0.0.1", 3), ("0.0.0.0", 1), ("192.0.2.7", 1)])
def test_a_service_for_others_calls_nothing_on_its_own_machine(tmp_path: Path, host: str, kept: int) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path, "egress": {"allow_private": ["127.0.0.0/8", "::1/128", "10.0.0.0/8"]}})
    assert len(outward(host, settings).egress.allow_private) == kept
