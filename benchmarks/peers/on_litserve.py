"""`python -m benchmarks.peers.on_litserve MODELS PORT`: LitServe with batching; a worker takes a batch, and the library
one pair of it after the other, for it has no other way."""

# No `from __future__ import annotations` here: LitServe reads the type of decode_request's argument as it stands.

import sys
from pathlib import Path

import litserve
from fastapi import Response

from benchmarks.peers.library import REPORT, Library, Pair, Swapped

BATCH, WAIT_S = 8, 0.01


class Swap(litserve.LitAPI):  # type: ignore[misc]  # it has no annotations
    def setup(self, device: str) -> None:
        self.library = Library(Path(sys.argv[1]))

    def decode_request(self, request: Pair) -> tuple[bytes, bytes]:
        return request.files()

    def batch(self, inputs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        return inputs

    def predict(self, pairs: list[tuple[bytes, bytes]]) -> list[Swapped]:
        return [self.library.swap(*pair) for pair in pairs]

    def unbatch(self, output: list[Swapped]) -> list[Swapped]:
        return output

    def encode_response(self, output: Swapped) -> Response:
        return Response(output.data, media_type="image/jpeg", headers={REPORT: output.report})


if __name__ == "__main__":
    api = Swap(max_batch_size=BATCH, batch_timeout=WAIT_S, api_path="/swap")
    server = litserve.LitServer(api, accelerator="cpu", timeout=False)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", generate_client_file=False)
