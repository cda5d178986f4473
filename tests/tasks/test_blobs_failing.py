"""A store that is down, full, hung, or not for us: one kind of error, in time, in words that give nothing away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from benchmarks.service import free_port
from serve_app.tasks.blobs import BlobExists, BlobMissing, BlobsRefused, BlobStore, BlobsUnavailable
from tests.disk import files_no_larger_than
from tests.s3 import BUCKET, KEY, S3, SECRET

ID = "1700000000000123"
CALLS: dict[str, Callable[[BlobStore], Awaitable[object]]] = {
    "put": lambda blobs: blobs.put("results/a.png", b"a"),
    "put_new": lambda blobs: blobs.put_new("inputs/a/source", b"a"),
    "get": lambda blobs: blobs.get("results/a.png"),
    "delete": lambda blobs: blobs.delete("results/a.png"),
    "list": lambda blobs: blobs.ids_with_inputs(),
    "probe": lambda blobs: blobs.probe(),
}


@pytest.fixture
def at(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the environment for the S3 server; keywords differ from what is right."""

    def set_up(**other: str) -> None:
        for name, value in {**s3.environment, **other}.items():
            monkeypatch.setenv(name, value)

    return set_up


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("[!.]*") if path.is_file()]


async def why(call: Awaitable[object]) -> str:
    with pytest.raises(BlobsUnavailable) as failed:
        await call
    text = str(failed.value)
    for secret in ("results", "inputs", ID, "http", "127.0.0.1", KEY, SECRET, BUCKET):
        assert secret not in text
    assert failed.value.__suppress_context__  # a log would print what obstore said
    return text


async def test_a_picture_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    with files_no_larger_than(100_000):
        assert await why(blobs.put(f"results/{ID}-a.png", bytes(200_000))) == "file too large"
        assert await why(blobs.put_inputs(ID, bytes(200_000), b"")) == "file too large"
        assert await why(blobs.put_inputs(ID, b"", bytes(200_000))) == "file too large"
        assert files(tmp_path) == []
        await blobs.put_inputs(ID, b"s", b"t")
    assert await blobs.get_inputs(ID) == (b"s", b"t")


async def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    (tmp_path / "results").write_text("in the way")
    assert await why(blobs.put(f"results/{ID}-a.png", b"a")) == "not a directory"


@pytest.mark.parametrize("left", ["nothing", "a mount point"])
@pytest.mark.parametrize("opened", ["before", "meanwhile"])
async def test_a_folder_that_goes_away_for_a_while(tmp_path: Path, left: str, opened: str) -> None:
    """No picture is missing and none goes to the wrong disk; the folder that comes back is the one that it was."""
    folder, away = tmp_path / "blobs", tmp_path / "away"
    blobs = BlobStore(folder)
    await blobs.put_inputs(ID, b"s", b"t")
    folder.rename(away)
    if left == "a mount point":
        folder.mkdir()
    if opened == "meanwhile":  # as a replica does that starts anew
        blobs = BlobStore(folder, make=False)
    for call in CALLS.values():
        assert await why(call(blobs)) == "the folder is gone, or another is mounted there"
    assert files(tmp_path) == files(away)
    if left == "a mount point":
        folder.rmdir()  # and nothing was made in it
    assert not folder.exists()
    away.rename(folder)
    assert await blobs.get_inputs(ID) == (b"s", b"t")
    await blobs.probe()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_nobody_there(at: Callable[..., None], call: Callable[[BlobStore], Awaitable[object]]) -> None:
    at(AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}")
    assert "no connection" in await why(call(BlobStore(f"s3://{BUCKET}/x")))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_a_server_that_says_nothing(at: Callable[..., None], s3: S3, call: Callable[[BlobStore], Awaitable[object]]) -> None:
    at()
    s3.pause()
    try:
        began = time.monotonic()
        assert "no answer" in await why(call(BlobStore(s3.url(), answer_s=0.3)))
        assert time.monotonic() - began < 2
    finally:
        s3.resume()


@pytest.mark.parametrize(
    ("wrong", "code"),
    [({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"), ({"AWS_ACCESS_KEY_ID": "wrong"}, "InvalidAccessKeyId")],
)
async def test_wrong_credentials(at: Callable[..., None], s3: S3, wrong: dict[str, str], code: str) -> None:
    at(**wrong)
    blobs = BlobStore(s3.url())
    for call in (blobs.put("results/a.png", b"a"), blobs.get("results/a.png"), blobs.ids_with_inputs()):
        assert (text := await why(call)).startswith("access is denied")
        assert code in text


async def test_a_bucket_that_is_not_there_is_not_a_missing_picture(at: Callable[..., None]) -> None:
    at()
    blobs = BlobStore("s3://nowhere/x")
    for call in (blobs.get("results/a.png"), blobs.ids_with_inputs()):
        assert await why(call) == "there is no such bucket"


async def test_a_server_that_comes_back_has_what_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    server = S3()
    try:
        await asyncio.to_thread(server.start)
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        blobs = BlobStore(server.url())
        await blobs.put_inputs(ID, b"s" * 1_000_000, b"t")
        server.stop()
        await why(blobs.get_inputs(ID))
        await why(blobs.put_inputs(ID, b"s", b"t"))
        await asyncio.to_thread(server.start)
        assert await blobs.get_inputs(ID) == (b"s" * 1_000_000, b"t")
        with pytest.raises(BlobExists):
            await blobs.put_inputs(ID, b"s", b"t")
    finally:
        server.close()


class Careless:
    """An S3 server that does not know conditional writes, or fails as it is told."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.status = 200
        self.failing: set[str] = set()

    async def answer(self, request: web.Request) -> web.Response:
        if self.status != 200 or f"{request.method} {request.path.rpartition('/')[2]}" in self.failing:
            return web.Response(status=max(self.status, 500), text="<Error><Code>SlowDown</Code><Key>secret</Key></Error>")
        if request.method == "PUT":
            self.objects[request.path] = await request.read()
            return web.Response(headers={"ETag": '"1"'})
        if request.method == "DELETE":
            self.objects.pop(request.path, None)
            return web.Response(status=204)
        if (data := self.objects.get(request.path)) is None:
            return web.Response(status=404)
        return web.Response(body=data, headers={"ETag": '"1"', "Last-Modified": "Wed, 22 Nov 2023 08:00:00 GMT"})


@pytest.fixture
async def careless(at: Callable[..., None]) -> AsyncIterator[Careless]:
    server = Careless()
    runner = web.AppRunner(app := web.Application())
    app.router.add_route("*", "/{path:.*}", server.answer)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port := free_port()).start()
    at(AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")
    yield server
    await runner.cleanup()


async def test_a_server_that_overwrites_is_found_out(careless: Careless) -> None:
    with pytest.raises(BlobsRefused, match="If-None-Match"):
        await BlobStore(f"s3://{BUCKET}").probe()


async def test_a_server_in_trouble(careless: Careless) -> None:
    blobs = BlobStore(f"s3://{BUCKET}")
    for status in (500, 503):
        careless.status = status
        assert await why(blobs.put("results/a.png", b"a")) == f"the server answered {status} SlowDown"
    careless.status = 501
    with pytest.raises(BlobsRefused, match="501"):
        await blobs.put_new("results/a.png", b"a")
    careless.status = 200
    with pytest.raises(BlobMissing):
        await blobs.get("results/a.png")


async def test_what_cannot_be_cleaned_up_now_is_told_as_what_went_wrong_first(careless: Careless, caplog: pytest.LogCaptureFixture) -> None:
    careless.failing = {"PUT target", f"POST {BUCKET}"}
    blobs = BlobStore(f"s3://{BUCKET}/x")
    assert await why(blobs.put_inputs(ID, b"s", b"t")) == "the server answered 500 SlowDown"
    assert "left to the sweep" in caplog.text
    assert list(careless.objects) == [f"/{BUCKET}/x/inputs/{ID}/source"]
