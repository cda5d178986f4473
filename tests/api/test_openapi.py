"""api/openapi.py, api/models.py and api/docs.py: the document is valid, names every route, and real answers are as it says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from serve_app.api.errors import Answer
from serve_app.api.openapi import OPERATIONS, document
from tests.api.support import SWAP, Service, sample, swap_body

DOCUMENT = document()


def schema(method: str, path: str, status: int, media: str = "application/json") -> Any:
    """The schema of an answer, with the components that it refers to."""
    content = DOCUMENT["paths"][path][method.lower()]["responses"][str(status)]["content"]
    return {**content[media]["schema"], "components": DOCUMENT["components"]}


def check(value: object, method: str, path: str, status: int) -> None:
    Draft202012Validator(schema(method, path, status)).validate(value)


def test_the_document_is_valid_openapi() -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator

    OpenAPIV31SpecValidator(DOCUMENT).validate()
    assert DOCUMENT["openapi"] == "3.1.0"


def test_every_route_is_in_it_and_no_other(service: Service) -> None:
    routes = [route for route in service.app.routes if isinstance(route, Route) and route.include_in_schema]
    real = {(method, route.path) for route in routes for method in (route.methods or set()) - {"HEAD"}}
    assert {(operation.method, operation.path) for operation in OPERATIONS} == real


def test_every_answer_is_in_it_with_its_own_example() -> None:
    found: dict[str, Any] = {}
    for path in DOCUMENT["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                examples = response["content"].get("application/json", {}).get("examples", {})
                found |= {name: (int(status), example["value"]) for name, example in examples.items() if name.isupper()}
    # These two are what a path or a method that is not in the document gives.
    assert found.keys() == Answer.__members__.keys() - {"ROUTE_UNKNOWN", "METHOD_WRONG"}
    for name, (status, value) in found.items():
        assert (status, value["code"]) == (Answer[name].status, Answer[name].code)


def test_examples_are_as_their_schemas_say() -> None:
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            if body := operation.get("requestBody"):
                content = body["content"]["application/json"]
                Draft202012Validator({**content["schema"], "components": DOCUMENT["components"]}).validate(content["example"])
            for status, response in operation["responses"].items():
                content = response["content"].get("application/json", {})
                values = [example["value"] for example in content.get("examples", {}).values()]
                for value in [*values, *([content["example"]] if "example" in content else [])]:
                    check(value, method, path, int(status))


async def test_real_answers_are_as_it_says(service: Service) -> None:
    client, fetch = service.client, "/mj/task/{id}/fetch"
    accepted = await client.post(SWAP, json=swap_body(accountFilter={"instanceId": "61"}))
    check(accepted.json(), "post", SWAP, 200)
    check((await client.post(SWAP, json=swap_body(state=5))).json(), "post", SWAP, 200)
    check((await client.post(SWAP, content=b"x" * 30_000_001)).json(), "post", SWAP, 413)
    id = accepted.json()["result"]
    check(await service.fetch(id), "get", fetch, 200)
    await service.finish(id, sample(9))
    done = await service.fetch(id, "/mj-turbo")
    check(done, "get", fetch, 200)
    assert done["imageUrl"]
    check((await client.get("/mj/task/1/fetch")).json(), "get", fetch, 404)
    check((await client.post("/mj/task/list-by-condition", json={"ids": [id]})).json(), "post", "/mj/task/list-by-condition", 200)
    check((await client.post("/mj/task/list-by-condition", content=b"{")).json(), "post", "/mj/task/list-by-condition", 200)
    check((await client.get("/mj/image/nope.png")).json(), "get", "/mj/image/{name}", 404)
    check((await client.get("/health")).json(), "get", "/health", 200)
    picture = await client.get(done["imageUrl"])
    assert picture.headers["content-type"] in DOCUMENT["paths"]["/mj/image/{name}"]["get"]["responses"]["200"]["content"]


@pytest.mark.parametrize("mount", ["", "/faces"])
async def test_the_docs_need_nothing_from_elsewhere(service: Service, mount: str) -> None:
    if mount:
        # The client has no public way to another application.
        service.client._transport.app = Starlette(routes=[Mount(mount, app=service.app)])  # type: ignore[attr-defined]
    page = await service.client.get(f"{mount}/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "//" not in page.text.replace("</", "")
    links = re.findall(r'(?:src|href|data-document)="(/[^"]+)"', page.text)
    assert len(links) == 4
    for link in links:
        found = await service.client.get(link)
        assert found.status_code == 200
        assert len(found.content) > 100
    given = (await service.client.get(f"{mount}/openapi.json")).json()
    assert given == document(mount)
    assert given["servers"] == [{"url": mount or "/"}]
    assert (await service.client.get(f"{mount}/docs/")).text == page.text
    assert (await service.client.head(f"{mount}/docs/swagger-ui.css")).headers["content-type"].startswith("text/css")


@pytest.mark.parametrize("name", ["nope.js", "redoc.standalone.js", "..", "%2e%2e%2f__init__.py", "..%2f..%2fcore.py"])
async def test_the_docs_give_nothing_else(service: Service, name: str) -> None:
    response = await service.client.get(f"/docs/{name}")
    assert (response.status_code, response.json()["code"]) == (404, 3)
