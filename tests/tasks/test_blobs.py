"""What both kinds of store have to do."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serve_app.tasks.blobs import BlobExists, BlobMissing, BlobStore, folder_of, shown
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
    assert [keys async for keys in blobs._list("probes/")] == []


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


async def test_results_of_a_time(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.tasks.blobs._PORTION", 2)
    keys = [f"results/{1_700_000_000_000 + ms}{digits}-a.png" for ms in range(5) for digits in ("000", "999")]
    for key in keys:
        await blobs.put(key, b"")
    await blobs.put_inputs("1700000000002000", b"", b"")

    async def between(since: int, until: int) -> list[str]:
        return sorted([key async for some in blobs.results(since, until) for key in some])

    assert await between(1_700_000_000_001, 1_700_000_000_003) == keys[2:6]
    assert await between(0, 1_700_000_000_001) == keys[:2]
    assert await between(-1, 2_000_000_000_000) == keys
    assert await between(1_700_000_000_005, 2_000_000_000_000) == []


async def test_tidying_leaves_what_is_whole_and_what_is_new(blobs: BlobStore, where: str) -> None:
    await blobs.put_inputs(ID, b"s", b"t")
    await blobs.put(f"results/{ID}-a.png", b"r")
    await blobs.put("probes/abc", b"p")
    hour_ago, later = time.time() * 1000 - 3_600_000, time.time() * 1000 + 60_000
    folder = folder_of(where)
    if folder is not None:  # what a process leaves that is killed while it writes
        (folder / "inputs" / OTHER).mkdir()
        for litter in (f"inputs/{OTHER}/source#1", f"results/{OTHER}-a.png#1", "probes/abc#2"):
            (folder / litter).touch()
    before = [] if folder is None else files(folder)
    await blobs.tidy(int(hour_ago))
    assert folder is None or files(folder) == before
    await blobs.tidy(int(later))
    assert [keys async for keys in blobs._list("probes/")] == []
    assert await blobs.get_inputs(ID) == (b"s", b"t")
    assert await blobs.get(f"results/{ID}-a.png") == b"r"
    if folder is not None:
        assert len(files(folder)) == 3
        assert not (folder / "inputs" / OTHER).exists()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("[!.]*") if path.is_file())


def test_a_process_that_ends_right_after_its_last_call_ends_well(tmp_path: Path) -> None:
    code = "import asyncio, sys; from serve_app.tasks.blobs import BlobStore; asyncio.run(BlobStore(sys.argv[1]).probe())"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(5)]
    assert [process.wait() for process in processes] == [0] * 5
