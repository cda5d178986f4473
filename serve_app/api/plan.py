"""From the options of a request to those of its task: what fits together, as far as it can be told without the pictures."""

from __future__ import annotations

from collections import Counter

from serve_app.api import schema
from serve_app.api.config import ApiConfig
from serve_app.api.errors import Answer, ApiError
from serve_app.options import Mapped, Options, Wishes


def plan(asked: schema.Options, *, own: bool, config: ApiConfig) -> Options:
    """own: whether the request has a source picture beside `sources`. Raises ApiError.

    The further pictures are numbered as they come: those of `sources`, without the first where it takes the source's place, then the
    reference.
    """
    sources = asked.sources or []
    main = own or not sources
    _check_number(len(sources), config.limits.max_sources)
    mapped = [index for source in sources for index in source.targets]
    if twice := [index for index, number in Counter(mapped).items() if number > 1]:
        raise _wrong("options.sources", f"two of them name the target's face {twice[0]}. Name each face once")
    named = asked.faces if isinstance(asked.faces, list) else []
    if len({*named, *mapped}) > config.limits.max_faces:
        raise _wrong("options.faces", f"more than {config.limits.max_faces} faces are named. Ask for several swaps")
    rest = asked.faces if isinstance(asked.faces, str) else sorted(set(named) - set(mapped))
    if asked.faces is None and not sources:
        rest = "largest"
    if not main and (rest == "largest" or rest == "nearest"):
        raise _wrong("options.faces", "needs a source picture of its own: send sourceBase64, or name the face in `options.sources` alone")
    if not main and isinstance(rest, list) and rest:
        raise _wrong(
            "options.faces", f"no source is there for the target's face {rest[0]}: name it in `options.sources`, or send sourceBase64"
        )
    if main and sources and rest == []:
        field = "options.sources" if asked.faces is None else "options.faces"
        raise _wrong(field, "leaves no face for sourceBase64: name one more in `options.faces`, or leave sourceBase64 and sourceUrl out")
    if (rest == "nearest") != (asked.reference is not None):
        raise _wrong("options.reference", 'belongs to `options.faces`: "nearest", and the other way round. Send both, or neither')
    if asked.reference and not config.compares_people:
        reason = '"nearest" needs a recogniser, and the model family that runs here has none. Ask /mj/insight-face/detect for indexes'
        raise _wrong("options.faces", reason)
    first = 0 if main else 1  # of `sources`, with a number of its own
    pictures = [None] * first + list(range(len(sources) - first))
    return Options.of(
        {
            **asked.model_dump(by_alias=True, include=set(Wishes.model_fields), exclude_defaults=True),
            "faces": rest,
            "nearest": len(sources) - first if asked.reference else None,
            "sources": [
                Mapped(picture=number, face=source.face, targets=source.targets).model_dump(by_alias=True)
                for number, source in zip(pictures, sources, strict=True)
            ],
            "main": main,
        }
    )


def _check_number(sources: int, most: int) -> None:
    if sources > most:
        raise _wrong("options.sources", f"has {sources} pictures, and at most {most} may be sent")


def _wrong(field: str, what: str) -> ApiError:
    return ApiError(Answer.INVALID, field=field, reason=f"`{field}` {what}.")
