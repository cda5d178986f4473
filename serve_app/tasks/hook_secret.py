"""What callbacks are signed with: `whsec_` and base64, as standardwebhooks.com has it."""

from __future__ import annotations

import base64
import binascii
import secrets

_PREFIX = "whsec_"
_FEWEST, _MOST = 24, 64  # bytes, as the specification wants them
_MOST_SECRETS = 4
WANTED = (
    f"a secret is {_PREFIX} and the base64 of {_FEWEST} to {_MOST} random bytes; this makes one: "
    "python3 -c \"import base64, secrets; print('whsec_' + base64.b64encode(secrets.token_bytes(32)).decode())\""
)


def new_secret() -> str:
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def checked(text: str) -> str:
    """One secret or several, told apart by blanks, the newest first; each signs. Raises ValueError, which quotes nothing of them."""
    given = text.split()
    if not 1 <= len(given) <= _MOST_SECRETS:
        raise ValueError(f"give 1 to {_MOST_SECRETS} secrets, told apart by blanks; {WANTED}")
    for secret in given:
        try:
            size = len(base64.b64decode(_padded(secret.removeprefix(_PREFIX)), validate=True))
        except (binascii.Error, ValueError):
            size = 0
        if not secret.startswith(_PREFIX) or not _FEWEST <= size <= _MOST:
            raise ValueError(WANTED)
    return " ".join(given)


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)
