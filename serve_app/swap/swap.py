"""One swap, from two files to one: read this first.

The models are behind three async verbs (models.py), wherever they run: this package knows neither Ray nor HTTP. look.py opens
pictures and finds faces, choice.py says which of them are meant, exchange.py replaces them, result.py makes a file of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from serve_app.options import NOTHING_ASKED, Options
from serve_app.stages import Stages
from serve_app.swap.choice import choose
from serve_app.swap.errors import SOURCE, TARGET, SwapError, named
from serve_app.swap.exchange import Exchange
from serve_app.swap.look import Look, told
from serve_app.swap.memory import NO_MEMORY, Memory
from serve_app.swap.models import InThread, Models
from serve_app.swap.result import write
from serve_app.vision.framing import Framing
from serve_app.vision.image import ImageError


@dataclass(frozen=True, slots=True)
class Swapped:
    """The result's file, in the target's size, and which faces were used (for the task's properties).

    notes: what was done to the pictures that their owners may not expect. output: how it was written, where that is not simply as the
    target.
    """

    data: bytes
    format: str
    faces: dict[str, object]
    notes: tuple[dict[str, str], ...] = ()
    output: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class FaceLimits:
    """most: faces of one target that are swapped. min_face: shorter side of the box, in pixels, of a face that may be swapped.
    at_once: faces of one picture in one call of a model; as many sources may come with them to be described.
    """

    most: int = 64
    min_face: int = 0
    at_once: int = 16


NO_LIMITS = FaceLimits()


async def swap_faces(
    source: bytes,
    target: bytes,
    models: Models,
    framing: Framing,
    *,
    options: Options = NOTHING_ASKED,
    more: Sequence[bytes] = (),
    limits: FaceLimits = NO_LIMITS,
    quality: int = 95,
    memory: Memory = NO_MEMORY,
    found: Callable[[], Awaitable[None]] | None = None,
    in_thread: InThread = asyncio.to_thread,
    stages: Stages | None = None,
) -> Swapped:
    """Faces of `source` put on those of `target` that `options` choose (picture files): of each the largest, unless they say otherwise.

    framing: how the models want to see pictures. more: the further pictures of `options`. quality: of what is written with loss.
    memory: of sources that were looked at before. `found` is awaited once all faces are known: from then on the work is under way.
    Pixels outside the faces are the decoded target's own. Faces are swapped in the order of their indexes; where two overlap, the later
    one sees what the earlier one left, as the framing has it.
    Raises SwapError.
    """
    stages = stages or Stages()
    look = Look(models, framing, in_thread, stages, limits.at_once, memory)
    sources = await look.recall(None, SOURCE, source, options)
    *from_, onto = await look.open(*([] if sources else [(SOURCE, source)]), (TARGET, target))
    *in_source, crowd = await look.find(*from_, onto)
    if from_:
        sources = await look.cut(None, from_.pop(), in_source.pop(), options)  # a photograph may be 120 MB; the square is enough
    for number in range(len(more)):
        if number != options.nearest:  # one after the other: all of them may not fit into memory
            sources |= await look.sources(number, _name_of(number, options), more[number], options)
    nearest = None if options.nearest is None else await look.nearest(more[options.nearest], onto, crowd, limits.most)
    with named(TARGET):
        choice = choose(options, crowd, most=limits.most, min_face=limits.min_face, nearest=nearest)
    swap = Exchange(look, onto, crowd, choice, sources, found)
    pixels = await swap.run()
    look.remember(sources)
    with stages.measure("encode"):
        try:
            written = await in_thread(write, replace(onto.picture, bgr=pixels), options.output, quality)
        except ImageError as error:
            raise SwapError(f"{TARGET}: {error}") from error
    notes = (*look.notes, *told("result", written.notes))
    return Swapped(written.data, written.format, swap.report(options), notes, written.output)


async def find_faces(
    data: bytes, models: Models, framing: Framing, *, limits: FaceLimits = NO_LIMITS, in_thread: InThread = asyncio.to_thread
) -> dict[str, object]:
    """The faces of a picture, numbered as `swap_faces` numbers them, and how well each of the largest lends itself to a swap.

    Raises SwapError.
    """
    look = Look(models, framing, in_thread, Stages(), limits.at_once)
    (opened,) = await look.open((TARGET, data))
    (crowd,) = await look.find(opened)
    features = await look.features(opened, crowd, crowd.by_size()[: limits.most]) if framing.target_features else {}
    height, width = opened.picture.bgr.shape[:2]
    shown = [
        {
            **crowd.shown(index),
            "keypoints": [[round(float(value), 1) for value in point] for point in crowd.faces.keypoints[index]],
            **framing.quality(features.get(index), crowd.faces.keypoints[index], float(crowd.sides[index]), None).shown(),
        }
        for index in range(len(crowd))
    ]
    return {"width": width, "height": height, "turned": crowd.turned, "count": len(crowd), "faces": shown}


def _name_of(number: int, options: Options) -> str:
    return f"{SOURCE} options.sources.{options.shown(number)}"
