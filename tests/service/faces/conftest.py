"""The insightface family on stand-ins whose answers can be worked out, and whose detector is wrong where a test wants it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from benchmarks.service import serving
from tests.service.client import Client
from tests.service.faces import wrong
from tests.standins import build

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of that service: a face's colour is its identity."""
    folder = tmp_path_factory.mktemp("colours")
    build(folder / "models", "functional")
    onnx.save(wrong.detector(), str(folder / "models" / "det_10g.onnx"))
    config = folder / "serve.yaml"
    settings = f"family: insightface\n      models_dir: {folder / 'models'}\n      limits: {{max_faces: 100}}"
    config.write_text((ROOT / "config" / "local.yaml").read_text().replace("family: auto", settings))
    with serving("--config", str(config), environment={"FACESWAP_SECRET": ""}) as service:
        yield Client(service.base)
