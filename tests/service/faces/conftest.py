"""The insightface family on stand-ins whose answers can be worked out, and whose detector is wrong where a test wants it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import yaml

from benchmarks.service import Service, serving
from tests.service.client import Client
from tests.service.faces import wrong
from tests.standins import build

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`family: auto` with the files in place, and batches of up to four."""
    folder = tmp_path_factory.mktemp("colours")
    build(folder / "models", "functional")
    onnx.save(wrong.detector(), str(folder / "models" / "det_10g.onnx"))
    config = yaml.safe_load((ROOT / "config" / "local.yaml").read_text())
    config["applications"][0]["args"] |= {
        "models_dir": str(folder / "models"),
        "limits": {"max_faces": 100},
        "detector": {"buckets": [1, 4]},
        "swapper": {"buckets": [1, 4]},
    }
    file = folder / "serve.yaml"
    file.write_text(yaml.safe_dump(config))
    with serving("--config", str(file), environment={"FACESWAP_SECRET": ""}) as service:
        yield service


@pytest.fixture(scope="session")
def colours(service: Service) -> Client:
    """A client of that service: a face's colour is its identity."""
    return Client(service.base)
