"""A node that was started without what docs/operations.md asks for says so."""

from __future__ import annotations

import logging

import pytest

from serve_app.deployments import environment


@pytest.fixture(autouse=True)
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.EVERY_NODE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")


def test_a_node_that_has_all_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    environment.complain()
    assert caplog.text == ""


@pytest.mark.parametrize("mode", [None, "disabled"])
def test_a_node_that_lets_everybody_in_is_told_of(
    mode: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE")
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    monkeypatch.delenv("RAY_worker_niceness")
    with caplog.at_level(logging.WARNING):
        environment.complain()
    (record,) = caplog.records
    assert "RAY_worker_niceness, RAY_AUTH_MODE=token (" in record.getMessage()
