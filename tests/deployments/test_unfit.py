from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.service import free_port
from serve_app.deployments.unfit import refuse_unfit
from serve_app.tasks.blobs import BlobStore
from tests.s3 import BLIND_KEY, S3, SECRET


@pytest.fixture(autouse=True)
def at_server(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)


def test_what_works_may_start(s3: S3, tmp_path: Path) -> None:
    refuse_unfit(s3.url())
    refuse_unfit(tmp_path / "blobs")


def test_a_folder_of_the_release_before_is_taken_over(tmp_path: Path) -> None:
    picture = tmp_path / "results" / "1700000000000123-a.png"
    picture.parent.mkdir()
    picture.write_bytes(b"r")
    refuse_unfit(tmp_path)
    assert asyncio.run(BlobStore(tmp_path, make=False).get("results/1700000000000123-a.png")) == b"r"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"pictures cannot be stored in .*/file/blobs: not a directory"):
        refuse_unfit(tmp_path / "file" / "blobs")


def test_wrong_credentials_may_not(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(ValueError, match=r"s3://pictures/here: access is denied \(InvalidAccessKeyId\)") as refused:
        refuse_unfit(s3.url("here"))
    assert SECRET not in str(refused.value)


def test_who_may_not_list_may_not(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", BLIND_KEY)
    with pytest.raises(ValueError, match=r"access is denied \(AccessDenied\)"):
        refuse_unfit(s3.url())


def test_a_server_that_is_down_may_come_back(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    refuse_unfit("s3://pictures/here")
    assert "no connection to the server; starting nevertheless" in caplog.text
