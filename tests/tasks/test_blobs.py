"""What both kinds of store have to do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serve_app.tasks.blobs import BlobExists, BlobMissing, BlobStore, shown
from tests.s3 import S3

ID, OTHER = "1700000000000123", "1700000000000124"


@pytest.fixture(params=["folder", "s3"])
def where(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "folder":
        return f"file://{tmp_path}/blobs"
    server: S3 = request.getfixturevalue("s3")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server.url()


@pytest.fixture
def blobs(where: str) -> BlobStore:
    return BlobStore(where)


async def test_bytes_come_back_in_another_store_of_the_same_place(blobs: BlobStore, where: str) -> None:
    await blobs.put_inputs(ID, b"a" * 300_000, b"")
    key = f"results/{ID}-abc.png"
    await blobs.put(key, b"result")
    again = BlobStore(where)
    assert await again.get(f"inputs/{ID}/source") == b"a" * 300_000
    assert await again.get(f"inputs/{ID}/target") == b""
    assert await again.get(key) == b"result"


async def test_a_missing_blob(blobs: BlobStore) -> None:
    with pytest.raises(BlobMissing):
        await blobs.get(f"inputs/{ID}/source")
    await blobs.delete(f"inputs/{ID}/source")


async def test_deleting_inputs_keeps_the_result_and_other_tasks(blobs: BlobStore) -> None:
    for id in (ID, OTHER):
        await blobs.put_inputs(id, b"s", b"t")
    await blobs.put(f"results/{ID}-r.png", b"r")
    assert sorted(await blobs.ids_with_inputs()) == [ID, OTHER]
    await blobs.delete_inputs(ID)
    with pytest.raises(BlobMissing):
        await blobs.get(f"inputs/{ID}/target")
    assert await blobs.get(f"results/{ID}-r.png") == b"r"
    assert await blobs.get(f"inputs/{OTHER}/source") == b"s"
    assert await blobs.ids_with_inputs() == [OTHER]


async def test_of_two_tasks_with_one_id_the_pictures_never_mix(blobs: BlobStore) -> None:
    async def put(who: bytes) -> bytes | None:
        try:
            await blobs.put_inputs(ID, who, who)
        except BlobExists:
            return None
        return who

    winners = [who for who in await asyncio.gather(*(put(b"%d" % n) for n in range(8))) if who is not None]
    assert len(winners) == 1
    assert [await blobs.get(f"inputs/{ID}/{name}") for name in ("source", "target")] == winners * 2


async def test_a_probe_leaves_nothing(blobs: BlobStore) -> None:
    await blobs.probe()
    assert [keys async for keys in blobs._keys("probes/")] == []


@pytest.mark.parametrize("key", ["", "source", "../secret", f"{ID}/../x", f"/{ID}/source", f"{ID}//source", f"{ID}/.", f"{ID}/a b"])
async def test_keys_cannot_leave_the_store(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="not a blob key"):
        await BlobStore(tmp_path).get(key)


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://key:secret@bucket/a?token=1#x", "s3://bucket/a"),
        ("file:///data/blobs", "/data/blobs"),
    ],
)
def test_what_people_are_shown_has_no_secret(where: str, text: str) -> None:
    assert shown(where) == text
