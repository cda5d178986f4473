"""Stand-ins of the InsightFace files, made once a test run, and the library on the same files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serve_app.engines import choice
from tests.engines.site import Site, serving
from tests.standins import Standins, build
from tests.standins.library import Library, load


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Standins:
    """The real layers with an eighth of the channels."""
    return build(tmp_path_factory.mktemp("narrow"), "narrow")


@pytest.fixture(scope="session")
def functional(tmp_path_factory: pytest.TempPathFactory) -> Standins:
    """Tiny nets whose answers can be worked out by hand."""
    return build(tmp_path_factory.mktemp("functional"), "functional")


@pytest.fixture(scope="session")
def library(narrow: Standins) -> Library:
    return load(narrow)


@pytest.fixture
def openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """`fast` is OpenVINO, however fast ONNX Runtime is on this machine."""
    monkeypatch.setattr(choice, "MARGIN", 1e9)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site
