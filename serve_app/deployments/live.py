"""What a deployment's `user_config` changes while its replicas run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from serve_app.settings import Settings

logger = logging.getLogger(__name__)


def changed(deployment: str, settings: Settings, user_config: Mapping[str, Any]) -> Settings:
    """settings: those of `args`. Where they cannot be changed so, they stay as they are, and the log has an error.

    Serve would stop a replica that refuses its `user_config`, and then the next one, until nobody is left. A wrong one in a file is
    refused before anything starts, by `faceswap serve` (cluster.load_config).
    """
    try:
        wanted = settings.changed(deployment, user_config)
    except ValueError as error:
        logger.error("user_config of %s is refused, the settings of args hold: %s", deployment, error)
        return settings
    logger.info("user_config of %s holds: %s", deployment, user_config)
    return wanted
