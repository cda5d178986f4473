from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.deployments.unfit import refuse_unfit
from tests.postgres import free_port
from tests.s3 import S3, SECRET


@pytest.fixture(autouse=True)
def at_server(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)


def test_what_works_may_start(s3: S3, tmp_path: Path) -> None:
    refuse_unfit(s3.url())
    refuse_unfit(tmp_path / "blobs")


def test_wrong_credentials_may_not(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(ValueError, match=r"s3://pictures/here: access is denied \(InvalidAccessKeyId\)") as refused:
        refuse_unfit(s3.url("here"))
    assert SECRET not in str(refused.value)


def test_a_server_that_is_down_may_come_back(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    refuse_unfit("s3://pictures/here")
    assert "no connection to the server; starting nevertheless" in caplog.text
