from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.deployments import nodes

POSTGRES = "postgresql://user:hidden@host/db"
S3 = "s3://bucket/prefix"


def test_a_file_is_for_one_node() -> None:
    nodes.refuse_spread(1, Path("data/tasks.db"), Path("data/blobs"))
    nodes.refuse_spread(7, POSTGRES, S3)
    for file in (Path("data/tasks.db"), "sqlite:///data/tasks.db"):
        with pytest.raises(ValueError, match=r"2 nodes.*data/tasks\.db.*FACESWAP_DATABASE_URL"):
            nodes.refuse_spread(2, file, S3)
    with pytest.raises(ValueError, match=r"2 nodes.*/data/blobs.*FACESWAP_BLOBS_URL"):
        nodes.refuse_spread(2, POSTGRES, Path("/data/blobs"))
