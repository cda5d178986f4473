"""What the benchmarks are made of: the registry, the load, the use of devices, the pages. What they measure is not for a test to say."""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from benchmarks import report, sizing, soak
from benchmarks.footprint import name_of
from benchmarks.load import SWAP, Phase, Plan, arrivals, histogram, kinds, send, summary
from benchmarks.registry import BENCHMARKS
from benchmarks.result import Chart, Result
from benchmarks.simulated import PUBLISHED, SLOW, Batch, use

ROOT = Path(__file__).resolve().parent.parent
PIXEL = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de")


@pytest.mark.parametrize("name", sorted(set(BENCHMARKS)))
def test_every_benchmark_is_there_and_told_of(name: str) -> None:
    assert callable(BENCHMARKS[name].load())
    assert f"`{name}`" in (ROOT / "docs" / "performance.md").read_text()


def test_a_name_that_is_none_is_refused_with_all_that_are() -> None:
    ended = subprocess.run([sys.executable, "-m", "benchmarks", "nothing"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "accelerator" in ended.stderr


def test_arrivals_are_the_same_for_a_seed_and_as_many_as_the_rates_say() -> None:
    phases = [Phase(100, 5), Phase(50, 40)]
    times = arrivals(phases, 3)
    assert times == arrivals(phases, 3) != arrivals(phases, 4)
    assert times == sorted(times)
    assert sum(time < 100 for time in times) == pytest.approx(500, rel=0.15)
    assert sum(100 <= time < 150 for time in times) == pytest.approx(2000, rel=0.1)
    assert max(times) < 150


def test_a_histogram_keeps_three_digits_from_a_millisecond_to_minutes() -> None:
    seconds = [0.001, 0.0123, 0.25, 1.0, 300.0]
    recorded = histogram(seconds)
    for place, expected in enumerate(seconds, 1):
        assert recorded.get_value_at_percentile(100 * place / len(seconds)) / 1e5 == pytest.approx(expected, rel=0.002)
    shown = summary(seconds)
    assert (shown["count"], shown["p50_ms"]) == (5, pytest.approx(250, rel=0.002))


@asynccontextmanager
async def answering(stall_s: float) -> AsyncIterator[str]:
    """A service whose loop stands still once, at its 20th request."""
    count = 0

    async def swap(request: web.Request) -> web.Response:
        nonlocal count
        await request.read()
        count += 1
        place = count  # others come while this one waits
        if place == 20:
            freed.clear()
            asyncio.get_running_loop().call_later(stall_s, freed.set)
        await freed.wait()
        return web.json_response({"code": 23} if place > 60 else {"code": 1, "result": str(place)})

    freed = asyncio.Event()
    freed.set()
    app = web.Application()
    app.router.add_post(SWAP, swap)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_service_that_stands_still_is_slow_for_all_who_would_have_come_meanwhile(tmp_path: Path) -> None:
    """A client that waits for each answer would have had one slow answer in all; here half of them are, from 0.5 s down to nothing or, on a
    busy machine, more."""
    (tmp_path / "body").write_text("{}")
    async with answering(stall_s=0.5) as base:
        answers = await send(Plan([base], [str(tmp_path / "body")], [Phase(1.0, 80)]))
    slow = [answer.seconds for answer in answers if answer.seconds > 0.05]
    assert len(slow) >= 25
    assert statistics.mean(slow) > 0.2
    assert summary(answer.seconds for answer in answers)["p99_ms"] > 400
    assert kinds(answers) == {"code 1": 60, "code 23": len(answers) - 60}
    assert [answer.task for answer in answers].count(None) == len(answers) - 60


async def test_what_is_no_answer_is_counted_by_what_it_was(tmp_path: Path) -> None:
    (tmp_path / "body").write_text("{}")
    async with answering(stall_s=0) as base:
        pass
    answers = await send(Plan([base, base + "/nowhere"], [str(tmp_path / "body")], [Phase(0.2, 50)]))
    assert kinds(answers) == {"ClientConnectorError": len(answers)}
    assert {answer.to for answer in answers} == {0, 1}


def test_a_published_device_is_stretched_in_proportion() -> None:
    assert PUBLISHED.of(1) == pytest.approx(1.9e-3)
    assert PUBLISHED.of(64) == pytest.approx(33.2e-3)
    assert SLOW.rate() == pytest.approx(1.5)
    assert SLOW.of(1) / SLOW.of(8) == pytest.approx(PUBLISHED.of(1) / PUBLISHED.of(8))


def test_the_use_of_devices_counts_batches_that_lie_partly_within_in_part() -> None:
    batches = [Batch("a", 0, 0, 0), Batch("a", 1, 3, 8), Batch("a", 3, 5, 8), Batch("b", 2, 4, 2), Batch("b", 6, 8, 4), Batch("b", 8, 9, 1)]
    found = use(batches, 2, 7, devices=2)
    assert found.busy == pytest.approx((1 + 2 + 2 + 1) / 10)
    assert found.rate == pytest.approx((4 + 8 + 2 + 2) / 5)
    assert (found.mean_batch, found.batches) == (6, {2: 1, 8: 2})


def test_growth_is_of_processes_that_stayed_and_after_they_had_settled() -> None:
    def look(at: float, **own: float) -> dict[str, object]:
        return {"at": at, "processes": [{"pid": ord(name), "name": name, "written": mb, "rss": 2 * mb} for name, mb in own.items()]}

    looks = [look(at, a=100 + at, b=50 if at < 10 else 80, c=7) for at in range(30)] + [look(30, a=130, b=80)]
    grown = soak.growth(looks, settle=10)
    assert [(row["name"], row["first_mb"], row["last_mb"]) for row in grown] == [("a", 110.5, 129.5), ("b", 80, 80)]
    assert [row["share"] for row in grown] == pytest.approx([19 / 110.5, 0])


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("ray::ServeReplica:faceswap:FaceSwapper", "FaceSwapper"),
        ("ray::ServeReplica:faceswap:Ingress.handle_request", "Ingress"),
        ("ray::ProxyActor", "ProxyActor"),
        ("/x/ray/core/src/ray/raylet/raylet --raylet_socket_name=/tmp/s", "raylet"),
        ("/x/bin/python -u /x/ray/dashboard/agent.py --node-ip-address=127.0.0.1", "agent"),
        ("/x/bin/python3 /x/bin/faceswap serve --port 1", "faceswap"),
    ],
)
def test_processes_have_short_names(title: str, name: str) -> None:
    assert name_of(title) == name


def test_the_page_holds_all_of_it_in_one_file() -> None:
    charts = [Chart("a <title>", "x", "y", {"line": [(0, 1.0), (1, 2.0)]}, limit=1.5)]
    results = {
        "one": Result({"raw": [1, 2]}, "| a | b |\n|---|---|\n| <i>1</i> | 2 |", charts, ["it is <slow>"]),
        "two": Result({}, "nothing", ()),
    }
    documents = [json.loads(json.dumps(result.document(name, 5, {"cpu": "some", "cores": 2}))) for name, result in results.items()]
    page = report.page(documents, {"one": PIXEL})
    assert "cpu some, cores 2; measured for 5 s" in page
    assert "<td>&lt;i&gt;1&lt;/i&gt;</td><td>2</td>" in re.sub(r"\s*\n\s*", "", page)
    assert "it is &lt;slow&gt;" in page
    assert page.count("<img ") == 1
    assert "data:image/png;base64,iVBORw0K" in page
    assert page.count("Nothing missed.") == 1
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert report.markdown(documents[0]).endswith("**Missed: it is <slow>.**\n")


def test_the_capacity_page_is_what_its_figures_give() -> None:
    figures = json.loads((ROOT / "docs" / "capacity.json").read_text())
    assert (ROOT / "docs" / "capacity.md").read_text() == sizing.page(figures)
