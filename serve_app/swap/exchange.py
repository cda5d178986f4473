"""The chosen faces of one target, replaced."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from serve_app.options import Options
from serve_app.swap.choice import Choice, Giver
from serve_app.swap.errors import FAILED, TARGET, SwapError, raised, usable
from serve_app.swap.look import Look, Opened
from serve_app.swap.memory import Source
from serve_app.vision.crowd import Crowd
from serve_app.vision.face import FaceError, FaceSquare, Matrix, Patch, Pixels, Portrait, Square, SwapItem
from serve_app.vision.quality import Quality


class Exchange:
    """The chosen faces of one target, replaced."""

    def __init__(
        self,
        look: Look,
        onto: Opened,
        crowd: Crowd,
        choice: Choice,
        sources: dict[Giver, Source],
        found: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._models, self._framing, self._in_thread, self._stages = look.models, look.framing, look.in_thread, look.stages
        self._portions = look.portions
        self._onto, self._crowd, self._choice, self._sources = onto, crowd, choice, sources
        self._found = found
        self._left = dict(choice.left)
        self._done: dict[int, Quality] = {}

    async def run(self) -> Pixels:
        """The target's pixels with the new faces. Raises SwapError where a face that was named, or all of them, cannot be swapped."""
        givers = list(self._choice.givers)
        keypoints = self._crowd.faces.keypoints
        turns = self._framing.turns([keypoints[index] for index in givers], self._onto.picture.bgr.shape)
        below = self._onto.picture.bgr
        for turn in turns:
            result = below
            for some in self._portions([givers[number] for number in turn]):
                result = await self._some(some, below, result)
            below = result
        if not self._done:
            why = "; ".join(f"{index}: {reason}" for index, reason in list(self._left.items())[:20])
            raise SwapError(f"{TARGET}: 没有可用的人脸 (no face could be swapped: {why})")
        return below

    async def _some(self, indices: Sequence[int], below: Pixels, result: Pixels) -> Pixels:
        """Faces cut out of `below`, made, and laid onto `result`."""
        with self._stages.measure("cut"):
            squares: dict[int, Square] = {}
            for index in indices:
                with self._excused(index):
                    squares[index] = await self._in_thread(self._framing.target, below, self._crowd.faces.keypoints[index])
        if self._found is not None:
            await self._found()
            self._found = None
        with self._stages.measure("identify"):
            items = await self._identify(squares)
        with self._stages.measure("swap"):
            outcomes = await self._models.swap(list(items.values())) if items else []
        patches: list[tuple[Patch, Matrix]] = []
        for (index, item), outcome in zip(items.items(), outcomes, strict=True):
            with self._excused(index, FAILED):
                patches.append((raised(outcome), squares[index].matrix))
                side = float(self._crowd.sides[index])
                keypoints = self._crowd.faces.keypoints[index]
                self._done[index] = self._framing.quality(item.target.features, keypoints, side, item.source.features)
        with self._stages.measure("paste"):
            return await self._in_thread(self._framing.paste, result, patches) if patches else result

    async def _identify(self, squares: dict[int, Square]) -> dict[int, SwapItem]:
        """Sources are described once, together with the first targets that they are for."""
        givers = {index: self._sources[self._choice.givers[index]] for index in squares}
        new = [source for source in {id(one): one for one in givers.values()}.values() if source.features is None]
        asked = [source.square for source in new] + (list(squares.values()) if self._framing.target_features else [])
        features = await self._models.identify([FaceSquare(square.pixels, square.keypoints) for square in asked]) if asked else []
        for source, outcome in zip(new, features, strict=False):
            source.features = usable(source.name, outcome)
        described = dict(zip(squares, features[len(new) :], strict=False))
        items: dict[int, SwapItem] = {}
        for index, square in squares.items():
            with self._excused(index):
                own = raised(described[index]) if self._framing.target_features else None
                source = givers[index]
                items[index] = SwapItem(Portrait(source.features, source.square.pixels), Portrait(own, square.pixels))
        return items

    @contextmanager
    def _excused(self, index: int, name: str = TARGET) -> Iterator[None]:
        """A face that cannot be swapped is left alone, unless it was named."""
        try:
            yield
        except FaceError as error:
            if index in self._choice.named:
                raise SwapError(f"{name}: {error}") from error
            self._left[index] = str(error)

    def report(self, options: Options) -> dict[str, object]:
        """For the task's properties."""
        (first, *_) = self._sources.values()
        used = next(index for index in self._crowd.by_size() if index in self._done)
        faces = [{**self._crowd.shown(index), **self._fate(index, options)} for index in range(len(self._crowd))]
        remembered = {"remembered": True} if first.remembered else {}
        return {
            "source": {**chosen(first.crowd, first.index), **self._source_quality(first), **remembered},
            "target": {**chosen(self._crowd, used), "faces": faces},
        }

    def _fate(self, index: int, options: Options) -> dict[str, object]:
        if index not in self._done:
            return {"swapped": False, "reason": self._left[index]}
        giver = self._choice.givers[index]
        own = {"source": {"picture": options.shown(giver.picture), "face": self._sources[giver].index}} if options.sources else {}
        return {"swapped": True, **own, **self._done[index].shown()}

    def _source_quality(self, source: Source) -> dict[str, object]:
        keypoints, side = source.crowd.faces.keypoints[source.index], float(source.crowd.sides[source.index])
        return self._framing.quality(source.features, keypoints, side, None).shown()


def chosen(crowd: Crowd, index: int) -> dict[str, object]:
    """Which face was used, and of how many."""
    lying = {"turned": crowd.turned} if crowd.turned else {}
    return {"count": len(crowd), **crowd.shown(index), **lying}
