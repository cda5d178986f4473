"""`python -m benchmarks.peers.on_serve MODELS PORT`: Ray Serve with `@serve.batch`, the library on a thread beside the event loop, as Ray's
documentation advises."""

# No `from __future__ import annotations` here: FastAPI reads the endpoint's types inside Ray's own wrapper.

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

from fastapi import FastAPI, Response

from serve_app.deployments import environment

environment.prepare()
for name in [name for name in os.environ if name.startswith("MALLOC_")]:  # ours alone
    del os.environ[name]

from ray import serve  # noqa: E402  after the environment that Ray reads

from benchmarks.peers.library import REPORT, Library, Pair, Swapped  # noqa: E402
from serve_app.deployments import cluster  # noqa: E402

BATCH, WAIT_S = 8, 0.01
app = FastAPI()


@serve.ingress(app)
class Swap:
    def __init__(self, folder: str) -> None:
        self.library = Library(Path(folder))

    @app.get("/health")
    def health(self) -> str:
        return "ok"

    @app.post("/swap")
    async def swap(self, pair: Pair) -> Response:
        swapped = await self.swaps(pair.files())
        return Response(swapped.data, media_type="image/jpeg", headers={REPORT: swapped.report})

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT_S)
    async def swaps(self, pairs: list[tuple[bytes, bytes]]) -> list[Swapped]:
        return await asyncio.to_thread(lambda: [self.library.swap(*pair) for pair in pairs])


deployment = serve.deployment(max_ongoing_requests=100)(Swap)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="faceswap-peer-") as session, cluster.local_cluster(Path(session)):
        serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])}, logging_config={"enable_access_log": False})
        serve.run(deployment.bind(sys.argv[1]))
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
