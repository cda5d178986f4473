"""Nobody starts an open service for a whole network by accident."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from ipaddress import ip_address

from serve_app.secrets import Secrets, database_of
from serve_app.settings import Settings
from serve_app.tasks.database import missing, open_database
from serve_app.tasks.keys import KeyRing
from serve_app.tasks.migrate import migrate

HOW = (
    "there is no key yet, so anybody who reaches {host} could use this service. Make one with `faceswap key create` or set "
    "FACESWAP_SECRET; or listen on 127.0.0.1; or say allow_open: true in the config file"
)


def protected(settings: Settings, secrets: Secrets) -> bool:
    """Is a key asked for: the secret of the environment, or one that was ever made?"""
    return secrets.secret is not None or asyncio.run(_any_key(settings, secrets))


def refuse_open(host: str, settings: Settings, secrets: Secrets) -> None:
    """Raises ValueError for a service without a key on an address that others can reach."""
    if not (is_loopback(host) or settings.allow_open or protected(settings, secrets)):
        raise ValueError(HOW.format(host=host))


def outward(host: str, settings: Settings) -> Settings:
    """The settings for this address: where others can reach it, the service does not call this machine itself for them."""
    if is_loopback(host):
        return settings
    kept = tuple(network for network in settings.egress.allow_private if not network.is_loopback)
    return settings.model_copy(update={"egress": settings.egress.model_copy(update={"allow_private": kept})})


def is_loopback(host: str) -> bool:
    """Does the address, or each address of the name, belong to this machine only?"""
    with contextlib.suppress(OSError, ValueError):
        return all(ip_address(info[4][0]).is_loopback for info in socket.getaddrinfo(host, None))
    return False


async def _any_key(settings: Settings, secrets: Secrets) -> bool:
    where = database_of(settings, secrets)
    if missing(where):
        return False
    migrate(where)  # one of an older release may have no table of keys
    database = open_database(where)
    try:
        return await KeyRing(database).any()
    finally:
        await database.close()
