"""What a request brings in confidence stands in no log line, whatever becomes of the request."""

from __future__ import annotations

import base64
import logging
import sqlite3

import pytest

from tests.api.support import SWAP, MakeService, data_url, sample, swap_body

SECRET = "sk-key-hunter2"
HOOK = "https://hookuser:hookpass@client.example:8443/hookpath?hooktoken=1"
SOURCE = "https://urluser:urlpass@pictures.example/a.png?urltoken=2"
CONFIDENTIAL = ["hunter2", "hookuser", "hookpass", "hooktoken", "urluser", "urlpass", "urltoken", "state words", "guessed", "querytoken"]


async def test_nothing_private_is_logged(make_service: MakeService, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service = await make_service(secret=SECRET)
    private = {"notifyHook": HOOK, "state": "state words", "sourceUrl": SOURCE, "targetUrl": SOURCE}
    bodies = [
        swap_body(**private),
        swap_body(**{**private, "notifyHook": HOOK.replace("https", "ftp")}),
        swap_body(**{**private, "sourceBase64": ""}),
        swap_body(**{**private, "sourceBase64": data_url(b"no picture: hunter2")}),
        swap_body(**{**private, "options": {"hooktoken": HOOK}}),
        swap_body(**{**private, "state": ["state words"]}),
    ]

    async def ask() -> None:
        for headers in ({"mj-api-secret": SECRET}, {"authorization": f"Bearer {SECRET}"}, {"authorization": "guessed"}):
            for body in bodies:
                await service.client.post(f"{SWAP}?querytoken={SECRET}", json=body, headers=headers)
            await service.client.post(SWAP, content=b'{"notifyHook":"' + HOOK.encode(), headers=headers)
            await service.client.get(f"/mj/task/{SECRET}/fetch?querytoken=1", headers=headers)

    await ask()
    assert service.accepted
    with sqlite3.connect(service.folder / "tasks.db") as connection:
        connection.execute("DROP TABLE tasks")
    connection.close()
    await ask()
    said = caplog.text + "".join(repr(record.__dict__) for record in caplog.records)
    assert "the task store failed" in said
    pictures = [base64.b64encode(sample(seed))[:40].decode() for seed in (0, 1)]
    # The test's own client logs the URLs that it asks for; a server has no such lines.
    ours = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records if not record.name.startswith("httpx"))
    for word in [*CONFIDENTIAL, *pictures]:
        assert word not in ours, word
