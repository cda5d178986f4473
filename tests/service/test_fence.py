"""A worker that stood still past its lease does no harm when it goes on: a real replica, stopped and woken by signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from pathlib import Path

from serve_app.tasks.task import Status
from serve_app.vision.image import decode
from tests.service.client import Client
from tests.service.pipelines import log_of, process_of, site
from tests.service.processes import stands_still

REFUSED = ": its result was refused, for it is not ours any more"
LEFT = " was lost: cancelled, failed, or taken up by another"


async def test_a_replica_that_was_paused_past_its_lease_cannot_commit(client: Client, tmp_path: Path) -> None:
    """Stopped at the worst moment: its picture is stored, its commit is about to be made.

    On a busy machine it may be stopped a moment too early; then its renewal is what is refused, and it is stopped once more.
    """
    refusals: list[str] = []
    while REFUSED not in refusals:
        assert refusals in ([], [LEFT], 2 * [LEFT]), "it never came to the commit"
        folder = tmp_path / str(len(refusals))
        folder.mkdir()
        refusals.append(await refusal(folder, f"paused-{len(refusals)}"))


async def refusal(folder: Path, name: str) -> str:
    """What the log says of a write of the paused worker that was refused, after all that must hold in either case."""
    async with site(folder, name=name, batch_s=1.0, pipelines=2, lease_s=2.0, renew_s=0.5) as here, asyncio.timeout(60):
        paused = process_of(0, name=name)
        task = await here.submit()
        late = here.run_next("late", pipeline=0)
        await here.reaches(task, Status.IN_PROGRESS)
        writers = sqlite3.connect(folder / "tasks.db", isolation_level=None, timeout=20)
        writers.execute("begin immediate")  # no commit of anybody's from here on
        while not any(name.startswith(f"{task.id}-") for name in here.files()):
            await asyncio.sleep(0.01)
        os.kill(paused, signal.SIGSTOP)
        try:
            while not stands_still(paused):  # or it could still take the lock that is free from here on, and keep it
                await asyncio.sleep(0.01)
            writers.close()
            (too_late,) = (name for name in here.files() if name.startswith(f"{task.id}-"))
            while not await here.store.take_expired(10):
                await asyncio.sleep(0.05)
            assert await here.run_next("early", pipeline=1)
            ended = await here.state(task)
            assert (ended.status, ended.fence) == (Status.SUCCESS, 2)
            assert not any(words in log_of(0, name) for words in (REFUSED, LEFT))
        finally:
            os.kill(paused, signal.SIGCONT)
        assert await late, "it tried to the end"
        assert process_of(0, name=name) == paused, "nobody has killed it meanwhile"
        (said,) = (words for words in (REFUSED, LEFT) if words in log_of(0, name))
        assert log_of(0, name).count(f"task {task.id}{said}") == 1
        assert not any(words in log_of(1, name) for words in (REFUSED, LEFT))
        assert await here.state(task) == ended
        assert ended.result_name != too_late
        assert here.files() == [ended.result_name]
        picture = decode(await here.blobs.get(str(ended.result)))
        assert picture.bgr.shape == (512, 512, 3)
        return said
