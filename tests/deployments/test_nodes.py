from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.deployments import nodes

POSTGRES = "postgresql://user:hidden@host/db"


def test_a_file_is_for_one_node() -> None:
    nodes.refuse_spread(1, Path("data/tasks.db"))
    nodes.refuse_spread(7, POSTGRES)
    for file in (Path("data/tasks.db"), "sqlite:///data/tasks.db"):
        with pytest.raises(ValueError, match=r"2 nodes.*data/tasks\.db.*FACESWAP_DATABASE_URL"):
            nodes.refuse_spread(2, file)
