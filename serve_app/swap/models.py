"""What a swap asks of the models, wherever they run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import ParamSpec, Protocol, TypeVar

from serve_app.vision.face import FaceError, Faces, FaceSquare, Floats, Frame, Patch, SwapItem

P = ParamSpec("P")
T = TypeVar("T")


class Models(Protocol):
    """What a swap asks of the models; batching and transport are theirs. An item that cannot be done is answered with its FaceError."""

    async def detect(self, pictures: Sequence[tuple[Frame, ...]]) -> list[Faces | FaceError]:
        """Faces of framed pictures, in pixels of the pictures."""

    async def identify(self, faces: Sequence[FaceSquare]) -> list[Floats | FaceError]:
        """The family's description of each face square: its features, as `Portrait` has them."""

    async def swap(self, items: Sequence[SwapItem]) -> list[Patch | FaceError]:
        """The new face of each target square."""


class InThread(Protocol):
    """Runs CPU work off the event loop, as `asyncio.to_thread` does."""

    def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]: ...
