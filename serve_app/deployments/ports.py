"""A block of ports that no other service of this machine takes."""

from __future__ import annotations

import atexit
import secrets
import socket
from collections.abc import Sequence

SIZE = 100
BLOCKS = range(20_000, 32_000, SIZE)  # below those that the kernel gives to connections, and Ray to its processes

held: list[socket.socket] = []  # one name for each block that is ours, until this process ends


def own_block(blocks: Sequence[int] = BLOCKS) -> range:
    """SIZE ports. The last one is free now, as nobody will look for another in its place. Raises OSError where no block is left."""
    for first in secrets.SystemRandom().sample(blocks, len(blocks)):
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0faceswap-ports-{first}")  # no file, and gone with the process
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", first + SIZE - 1))
        except OSError:
            name.close()
        else:
            held.append(name)
            atexit.register(name.close)
            return range(first, first + SIZE)
    raise OSError(f"other services have all ports from {min(blocks)} to {max(blocks) + SIZE - 1}")
