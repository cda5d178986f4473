"""`python -m benchmarks.peers.on_fastapi MODELS PORT`: one process, models as globals, a plain function as endpoint, which FastAPI runs in
a thread of its pool."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response

from benchmarks.peers.library import REPORT, Library, Pair

app = FastAPI()
library: Library


@app.get("/health")
def health() -> str:
    return "ok"


@app.post("/swap")
def swap(pair: Pair) -> Response:
    swapped = library.swap(*pair.files())
    return Response(swapped.data, media_type="image/jpeg", headers={REPORT: swapped.report})


if __name__ == "__main__":
    library = Library(Path(sys.argv[1]))
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
