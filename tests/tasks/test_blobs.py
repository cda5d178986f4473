from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serve_app.tasks.blobs import BlobExists, BlobMissing, BlobStore

ID, OTHER = "1700000000000123", "1700000000000124"


async def test_bytes_come_back_in_another_store_of_the_folder(blobs: BlobStore, tmp_path: Path) -> None:
    await blobs.put_inputs(ID, b"a" * 300_000, b"")
    key = f"results/{ID}-abc.png"
    await blobs.put(key, b"result")
    again = BlobStore(f"file://{tmp_path}/blobs")
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
    await blobs.delete_inputs(ID)
    with pytest.raises(BlobMissing):
        await blobs.get(f"inputs/{ID}/target")
    assert await blobs.get(f"results/{ID}-r.png") == b"r"
    assert await blobs.get(f"inputs/{OTHER}/source") == b"s"


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


async def test_inputs_that_cannot_be_written_whole_are_not_left_behind(blobs: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "blobs" / "inputs" / ID / "target").mkdir(parents=True)  # a folder stands where the file should go
    with pytest.raises(Exception, match="target"):
        await blobs.put_inputs(ID, b"s", b"t")
    with pytest.raises(BlobMissing):
        await blobs.get(f"inputs/{ID}/source")


@pytest.mark.parametrize("key", ["", "source", "../secret", f"{ID}/../x", f"/{ID}/source", f"{ID}//source", f"{ID}/.", f"{ID}/a b"])
async def test_keys_cannot_leave_the_store(blobs: BlobStore, key: str) -> None:
    with pytest.raises(ValueError, match="not a blob key"):
        await blobs.get(key)
