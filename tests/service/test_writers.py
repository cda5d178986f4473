"""One SQLite file, many writing processes: two Ingress and four SwapPipeline replicas. `pytest --tasks 5000` is the long form."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from benchmarks.service import serving
from tests.pictures import ASTRONAUT, HANKS, data_url, jpeg, read

ROOT = Path(__file__).resolve().parent.parent.parent
CLIENTS = 8
REPLICAS = {"Ingress": 2, "SwapPipeline": 4}
PAGE = 1000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """config/local.yaml with the fake engine, which leaves the work to the database, and more replicas."""
    config = yaml.safe_load((ROOT / "config" / "local.yaml").read_text())
    (application,) = config["applications"]
    application["args"] |= {"family": "fake", "limits": {"max_unfinished": 100_000}, "ingress": {"max_dispatched": 16}}
    for deployment in application["deployments"]:
        deployment["num_replicas"] = REPLICAS.get(deployment["name"], deployment["num_replicas"])
    file = tmp_path / "serve.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def test_many_writing_processes_never_lock_each_other_out(config: Path, request: pytest.FixtureRequest) -> None:
    tasks = request.config.getoption("--tasks") or 300
    with serving("--config", str(config), environment={"FACESWAP_SECRET": ""}) as service:
        assert asyncio.run(ended(service.base, tasks)) == {"SUCCESS": tasks}
        logs = service.logs()
        for name, count in REPLICAS.items():
            assert len([path for path in logs if re.search(rf"replica_faceswap_{name}_\w+\.log$", path.name)]) == count
        assert [path.name for path in logs if "database is locked" in path.read_text(errors="replace")] == []


async def ended(base: str, tasks: int) -> Counter[str]:
    """How the tasks ended: submitted by several clients at once, then asked for by the page."""
    small = [data_url(jpeg(read(path)[::4, ::4])) for path in (ASTRONAUT, HANKS)]
    body = {"sourceBase64": small[0], "targetBase64": small[1]}
    async with aiohttp.ClientSession(base) as session:

        async def posted(path: str, json: Any) -> Any:
            async with session.post(path, json=json) as answer:
                assert answer.status == 200, await answer.text()
                return await answer.json()

        async def submitted(count: int) -> list[str]:
            answers = [await posted("/mj/insight-face/swap", body) for _ in range(count)]
            assert [answer["code"] for answer in answers] == [1] * count
            return [answer["result"] for answer in answers]

        shares = [len(range(client, tasks, CLIENTS)) for client in range(CLIENTS)]
        ids = [task for part in await asyncio.gather(*map(submitted, shares)) for task in part]
        states: Counter[str] = Counter()
        while states["SUCCESS"] + states["FAILURE"] < tasks:  # a client of this contract has to poll
            await asyncio.sleep(0.5)
            pages = [await posted("/mj/task/list-by-condition", {"ids": ids[start : start + PAGE]}) for start in range(0, tasks, PAGE)]
            states = Counter(state["status"] for page in pages for state in page)
        return states
