"""A store of pictures that will never work as it is set up is refused at the start."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from serve_app.tasks.blobs import BlobsRefused, BlobStore, BlobsUnavailable, shown

logger = logging.getLogger(__name__)


def refuse_unfit(where: str | Path) -> None:
    """Raises ValueError for a store that works only after somebody changed something. One that is down may come back: GET /ready tells.

    Makes and marks a folder: from here on, another in its place is not taken for it.
    """
    try:
        asyncio.run(_probe(BlobStore(where)))
    except OSError as error:
        raise ValueError(f"pictures cannot be stored in {shown(where)}: {(error.strerror or str(error)).lower()}") from None
    except BlobsRefused as error:
        raise ValueError(f"pictures cannot be stored in {shown(where)}: {error}") from None
    except BlobsUnavailable as error:
        logger.warning("pictures cannot be stored in %s: %s; starting nevertheless", shown(where), error)


async def _probe(blobs: BlobStore) -> None:
    await blobs.probe()
    await blobs.probe_list()
