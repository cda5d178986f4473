"""docs/api.md says what the code does: routes, headers, members, limits, answers."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from pydantic.alias_generators import to_camel
from starlette.routing import Route

from serve_app.api import detect, search, state, tasks, watch
from serve_app.api.app import ApiConfig
from serve_app.api.config import DefaultLimits, DefaultRates
from serve_app.api.edge import EXPOSED
from serve_app.api.errors import Answer
from serve_app.api.openapi import document
from serve_app.api.schema import MAX_WAIT_S, Options, QueryBody, SwapBody
from serve_app.api.submission import _MAX_URL
from serve_app.egress import address, client
from serve_app.settings import MOST_BODY_BYTES, Limits, Settings
from serve_app.tasks import room
from serve_app.tasks.query import SORTS, Page
from serve_app.vision.image import SIDES
from tests.api.support import Service

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()


def flowing(text: str = DOCS) -> str:
    """Without line breaks."""
    return " ".join(text.split())


def table(heading: str) -> list[list[str]]:
    """The cells of the rows of the first table below a heading of the page."""
    part = DOCS.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (.+) \|$", part, re.MULTILINE)
    return [[cell.strip().strip("`") for cell in row.split(" | ")] for row in rows[1:]]


def test_the_page_and_the_code_have_the_same_answers() -> None:
    rows = table("Every answer that is not a task or a picture")
    documented = {name: (int(status), int(code), *descriptions) for name, status, code, *descriptions, _ in rows}
    assert documented == {answer.name: answer.value for answer in Answer}
    assert {answer.status for answer in Answer} == {200, 401, 403, 404, 405, 410, 413, 429, 500, 503}
    assert len({answer.name for answer in Answer}) == len(Answer.__members__)  # no two are one by accident


def test_the_page_and_the_code_have_the_same_routes(service: Service) -> None:
    documented = {(method, path) for method, path, _ in table("Routes")}
    routes = [route for route in service.app.routes if isinstance(route, Route) and route.include_in_schema]
    real = {(method, route.path) for route in routes for method in (route.methods or set()) - {"HEAD"}}
    assert documented == real


def test_the_page_has_every_member_of_a_submit_and_the_limits() -> None:
    documented = {name for row in table("Asking for a swap") for name in re.findall(r"\w+", row[0])}
    assert documented == {field.alias for field in SwapBody.model_fields.values()} | {
        field.alias for field in Options.model_fields.values()
    }
    assert all(f"`options.{field.alias}`" in DOCS for field in Options.model_fields.values())
    assert f"At most {ApiConfig().limits.max_sources} further pictures" in flowing()
    assert f"at most {ApiConfig().limits.max_faces} faces (`limits.max_faces`)" in flowing()
    assert f"{detect.MOST} may run at a time for a key" in flowing()
    limits = ApiConfig().limits
    assert f"{limits.max_body_bytes:,} bytes" in DOCS
    assert f"{limits.max_image_bytes // 2**20} MiB" in DOCS
    assert f"{limits.max_pixels // 10**6} million pixels" in DOCS
    assert f"up to {limits.max_state:,} characters" in DOCS
    assert f"needs {limits.min_side} pixels" in DOCS
    assert f"a proportion of {limits.max_aspect:g} to 1" in flowing()
    assert all(f"{side:,}" in DOCS for output, side in SIDES.items() if output != "PNG")
    assert f"within {Limits().deadline_s:g} seconds (`limits.deadline_s`)" in flowing()
    assert f"{100 * room.SLACK:g} % of what can be finished" in flowing()
    assert f"at least {room.UNMEASURED:,} until tasks have to wait, and never less than {room.FLOOR}" in flowing()
    assert f"{100 * Limits().key_share:g} % of it" in flowing()
    assert f"a body of at most {tasks._MAX_BYTES:,} bytes" in DOCS
    assert f"A body has {limits.body_timeout_s:g} seconds" in DOCS
    assert f"may send {limits.max_bodies_per_address} bodies at a time" in DOCS
    assert f"all clients together {limits.max_bodies}," in DOCS
    rates = ApiConfig().rates
    assert rates.submits_per_key == rates.submits_per_address == "6000/minute"
    assert "A key may submit 6,000 times a minute, and so may an address" in DOCS
    assert rates.wrong_keys == "30/minute"
    assert "after 30 wrong keys in a minute" in flowing()
    assert f"{limits.max_bodies_bytes:,} bytes; more is refused" in DOCS


def test_the_settings_and_the_application_have_the_same_defaults() -> None:
    given = Settings()
    for defaults, group in ((DefaultLimits(), given.limits), (DefaultRates(), given.rates)):
        for field in dataclasses.fields(defaults):
            assert getattr(defaults, field.name) == getattr(group, field.name)
    assert given.trusted_proxies == ApiConfig().trusted_proxies


async def test_the_example_of_a_task_has_the_members_of_a_real_one(service: Service) -> None:
    (text,) = re.findall(r"^## A task\n\n```json\n(.+?)```", DOCS, re.MULTILINE | re.DOTALL)
    example = json.loads(text)
    real = await service.fetch((await service.submit())["result"])
    assert example.keys() == real.keys()
    assert example["displays"].keys() == real["displays"].keys()
    added = {row[0].removeprefix("properties.") for row in table("A task")}
    seldom = {"notifyHookError", "notes", "output"}  # not of a success like any other
    assert example["properties"].keys() == real["properties"].keys() | added - seldom
    assert list(example["properties"]["faces"]) == ["source", "target"]


def test_the_page_has_every_header() -> None:
    documented = {header.lower() for header, *_ in table("Headers")}
    operations = [one for path in document()["paths"].values() for one in path.values()]
    described = {parameter["name"].lower() for one in operations for parameter in one["parameters"] if parameter["in"] == "header"}
    schemes = document()["components"]["securitySchemes"]
    assert documented == described | {schemes["secret"]["name"], "authorization", "retry-after", "server-timing"}
    assert all(f"`{name}`" in DOCS.lower() for name in EXPOSED)
    assert f"0 to {MAX_WAIT_S} seconds" in DOCS


def test_the_page_has_every_member_of_a_query() -> None:
    cells = table("Pages")
    assert {name for row in cells for name in re.findall(r"\w+", row[0])} == {field.alias for field in QueryBody.model_fields.values()}
    (sorts,) = (meaning for name, meaning in cells if name == "sort")
    named = set(re.findall(r"`(\w+)`", sorts.partition(", and `,asc`")[0]))
    assert named == {to_camel(name) for name in SORTS}
    assert "`submitTime,desc` unless given" in sorts
    page = search.page_json(Page([], 0), QueryBody(), [])
    assert all(f"`{member}`" in DOCS for member in page)
    assert f"at most {tasks._QUEUE:,}" in DOCS
    assert f"the newest {tasks._NEWEST} tasks" in DOCS


def test_the_page_has_what_the_guard_refuses() -> None:
    part = flowing(DOCS.split("## Calls to other servers", 1)[1].split("\n## ", 1)[0])
    for kind in address._KINDS:
        assert kind.removeprefix("local ") in part
    assert f"at most {client._REDIRECTS} redirects" in part
    egress = Settings().egress
    assert f"within {egress.picture_timeout_s:g} seconds (`egress.picture_timeout_s`)" in part
    assert f"no answer within {egress.hook_timeout_s:g} seconds" in flowing()
    assert f"of up to {_MAX_URL:,} characters" in DOCS


def test_the_page_has_the_limits_outside_the_settings() -> None:
    assert f"at most once in {state._FRESH_S:g} seconds" in DOCS
    assert f"more than {MOST_BODY_BYTES:,} bytes" in DOCS
    assert f"where {watch.MOST_WAITERS} requests of an Ingress replica wait already" in DOCS
