"""What tests of the HTTP side need: small pictures in every spelling, and the real application with what stands behind it."""

from __future__ import annotations

import asyncio
import base64
import io
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import uvicorn
from PIL import Image
from starlette.applications import Starlette

from serve_app.api.app import ApiConfig, create_app
from serve_app.api.service import Service as ApiService
from serve_app.api.watch import Watch
from serve_app.egress.address import AddressPolicy
from serve_app.egress.client import Egress
from serve_app.metrics import Recorder, unrecorded
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database, open_database
from serve_app.tasks.hooks import Hooks
from serve_app.tasks.keys import KeyRing
from serve_app.tasks.room import Bounds
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Task
from tests.tasks.databases import migrated

SWAP = "/mj/insight-face/swap"
LEFT_OUT = object()
SUFFIX = "abcdefghijklmnopqrstuv"  # of the names of results


def sample(seed: int = 0, format: str = "PNG", width: int = 48, height: int = 32) -> bytes:
    """A small picture that passes every check."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format)
    return out.getvalue()


def plain(data: bytes) -> str:
    return base64.b64encode(data).decode()


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{plain(data)}"


def swap_body(**members: object) -> dict[str, object]:
    """A good submit, with these members over or beside its own."""
    body = {"sourceBase64": data_url(sample(0)), "targetBase64": data_url(sample(1)), **members}
    return {name: value for name, value in body.items() if value is not LEFT_OUT}


@dataclass
class Service:
    """The application and what stands behind it. accepted: what on_accepted heard; arrived: set when it hears."""

    client: httpx2.AsyncClient
    app: Starlette
    store: TaskStore
    blobs: BlobStore
    database: Database
    keys: KeyRing
    folder: Path
    accepted: list[Task] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def post(self, path: str = SWAP, body: object = None, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        """POST JSON: what is given, or a good submit."""
        return await self.client.post(path, json=swap_body() if body is None else body, headers=dict(headers or {}))

    async def submit(self, **members: object) -> Any:
        """POST a swap of two small pictures; returns the JSON body."""
        response = await self.client.post(SWAP, json=swap_body(**members))
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        return response.json()

    async def fetch(self, id: str, prefix: str = "") -> Any:
        response = await self.client.get(f"{prefix}/mj/task/{id}/fetch")
        assert response.status_code == 200
        return response.json()

    async def finish(self, id: str, picture: bytes, ext: str = "png") -> str:
        """What a worker does: claim, store the picture, succeed. Returns the picture's name."""
        task = await self.store.claim("test", 30)
        assert task is not None
        assert task.id == id
        name = f"{id}-{SUFFIX}.{ext}"
        await self.blobs.put(f"{id}/result.{ext}", picture)
        assert await self.store.succeed(task, f"{id}/result.{ext}", name, {"family": "test"})
        return name

    def stored(self) -> list[Path]:
        """Every file of every task."""
        return [path for path in (self.folder / "blobs").rglob("[!.]*") if path.is_file()]

    def rows(self) -> int:
        """Rows of all tables that a request can write to."""
        with closing(sqlite3.connect(self.folder / "tasks.db")) as connection:
            return sum(connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("tasks", "callbacks", "usage"))

    def drop(self, table: str = "tasks") -> None:
        """What a lost database looks like from here."""
        with closing(sqlite3.connect(self.folder / "tasks.db")) as connection:
            connection.execute(f"DROP TABLE {table}")


async def nobody(data: bytes) -> dict[str, object]:
    return {"width": 48, "height": 32, "turned": 0, "count": 0, "faces": []}


MakeService = Callable[..., Awaitable[Service]]


async def healthy() -> dict[str, object]:
    return {"status": "ok", "family": "fake"}


def build(
    folder: Path,
    config: ApiConfig,
    *,
    on_accepted: Callable[[Task], None] | None = None,
    health: Callable[[], Awaitable[dict[str, object]]] = healthy,
    detect: Callable[[bytes], Awaitable[dict[str, object]]] = nobody,
    egress: Egress | None = None,
    bounds: Bounds | None = None,
    where: str | None = None,
    record: Recorder = unrecorded,
) -> Service:
    """The real application on a real SQLite file and a real folder of pictures. The caller closes `client` and `database`.

    egress: not started; the application's lifespan does that. None: one that calls public addresses only. where: a PostgreSQL instead.
    """
    database = open_database(migrated(where or folder / "tasks.db"))
    blobs = BlobStore(folder / "blobs")
    store = TaskStore(database, blobs, bounds=bounds)
    accepted: list[Task] = []
    arrived = asyncio.Event()
    keys = KeyRing(database)
    out = egress or Egress(AddressPolicy())

    def accept(task: Task) -> None:
        accepted.append(task)
        arrived.set()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await out.start()
        yield
        await out.close()

    watch = Watch(store)
    behind = ApiService(store, blobs, keys, out, config, on_accepted or accept, health, Hooks(database), detect, watch, record)
    app = create_app(behind, lifespan)
    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://swap.test")
    return Service(client, app, store, blobs, database, keys, folder, accepted, arrived)


@asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    """The application behind a real HTTP server on the loopback; where it is. Its lifespan is the caller's business."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    running = asyncio.create_task(server.serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        listener.close()
