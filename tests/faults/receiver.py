"""A hook as bad as hooks are, in a process of its own: a third of its answers is 500; some hang, are cut off, or send elsewhere.

What it hears it writes down, a line each, before it answers. With `patience` it hears a state that it failed so often: each failure
makes the wait for the next try longer, and a short run cannot wait for a state that fails ten times.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from aiohttp import web

HANG_S = 30.0
FOR_EVER = 10**6
# What it does, and how often in a hundred; the rest is well.
MOODS = {"500": 33, "hang": 2, "reset": 5, "redirect": 5, "429": 3}


@dataclass(frozen=True, slots=True)
class Heard:
    """One request. mood: how it was answered, "well" where it was."""

    webhook_id: str
    task: str
    status: str
    mood: str


@dataclass(frozen=True, slots=True)
class Receiver:
    url: str
    file: Path

    def heard(self) -> list[Heard]:
        """In the order in which they came; a line that is being written is left out."""
        lines = self.file.read_text().splitlines(keepends=True)
        return [Heard(**json.loads(line)) for line in lines if line.endswith("\n")]


@contextmanager
def receiving(folder: Path, seed: int, patience: int = FOR_EVER) -> Iterator[Receiver]:
    file = folder / "heard.jsonl"
    file.touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.receiver", str(file), str(seed), str(patience)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parent.parent.parent,
    )
    try:
        assert process.stdout is not None
        yield Receiver(process.stdout.readline().strip(), file)
    finally:
        process.kill()
        process.communicate()


def untold(heard: list[Heard], ends: dict[str, str], owed: dict[str, str]) -> list[str]:
    """Every task's hook has heard its end; `ends`: status by id. owed: what is known of calls that are to be made."""
    well = {(one.task, one.status) for one in heard if one.mood == "well"}
    return [
        f"the hook of task {task} never heard {status} (owed: {owed.get(task)})"
        for task, status in ends.items()
        if (task, status) not in well
    ]


def disordered(heard: list[Heard]) -> list[str]:
    """States never go backwards, and a state that comes again comes under the same id."""
    order = {"SUBMITTED": 1, "IN_PROGRESS": 2, "SUCCESS": 3, "FAILURE": 3}
    reached: dict[str, str] = {}
    ids: dict[tuple[str, str], str] = {}
    broken = []
    for one in heard:
        before = reached.get(one.task, one.status)
        if order[one.status] < order[before] or (order[one.status] == 3 and order[before] == 3 and one.status != before):
            broken.append(f"the hook of task {one.task} heard {one.status} after {before}")
        reached[one.task] = one.status
        if ids.setdefault((one.task, one.status), one.webhook_id) != one.webhook_id:
            broken.append(f"{one.status} of task {one.task} came under two ids")
    if len(set(ids.values())) < len(ids):
        broken.append("two states came under one id")
    return broken


def figures(heard: list[Heard]) -> str:
    moods, times = Counter(one.mood for one in heard), Counter(one.webhook_id for one in heard)
    answers = ", ".join(f"{count} {mood}" for mood, count in moods.most_common())
    return f"{len(heard)} calls of {len(times)} states ({answers}); at most {max(times.values(), default=0)} of one"


async def _serve(file: Path, seed: int, patience: int) -> None:
    chance, failed = random.Random(seed), Counter[str]()

    async def hear(request: web.Request) -> web.StreamResponse:
        state, id = await request.json(), request.headers["webhook-id"]
        mood = chance.choices([*MOODS, "well"], [*MOODS.values(), 100 - sum(MOODS.values())])[0]
        if failed[id] >= patience:
            mood = "well"
        failed[id] += mood != "well"
        with file.open("a") as lines:
            heard = Heard(id, state["id"], state["status"], mood)
            lines.write(json.dumps(asdict(heard)) + "\n")
        if mood == "hang":
            await asyncio.sleep(HANG_S)
        elif mood == "reset":
            assert request.transport is not None
            request.transport.abort()
        elif mood == "redirect":
            return web.Response(status=302, headers={"Location": "/elsewhere"})
        elif mood == "429":
            return web.Response(status=429, headers={"Retry-After": "1"})
        return web.Response(status=500 if mood == "500" else 200)

    app = web.Application()
    app.router.add_post("/hook", hear)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/hook", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
