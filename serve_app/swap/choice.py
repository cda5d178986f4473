"""Which of the target's faces get a new face, and whose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from serve_app.options import One, Options
from serve_app.vision.crowd import Crowd
from serve_app.vision.face import FaceError

NOT_ASKED = "not asked for"


class Giver(NamedTuple):
    """A face of a source picture: the main one (None) or a further one, by its number."""

    picture: int | None
    face: One


@dataclass(frozen=True, slots=True)
class Choice:
    """givers: by the target's face, in the order of their indexes. left: why the other faces are left alone. named: those that were asked
    for one by one, so that the swap fails where one of them cannot be made."""

    givers: Mapping[int, Giver]
    left: Mapping[int, str]
    named: frozenset[int]


def pick(crowd: Crowd, face: One) -> int:
    """Index of one face of a source picture. Raises FaceError."""
    _check_any(crowd)
    if face == "largest":
        return crowd.by_size()[0]
    _check_index(crowd, face)
    return face


def choose(options: Options, crowd: Crowd, *, most: int, min_face: int, nearest: int | None = None) -> Choice:
    """most: faces that may be swapped. min_face: the operator's own. nearest: the face that `faces` "nearest" means. Raises FaceError."""
    _check_any(crowd)
    left = _unfit(options, crowd, max(min_face, options.min_face))
    givers = {index: Giver(one.picture, one.face) for one in options.sources for index in one.targets}
    named = set(givers)
    rest: list[int] = []
    if isinstance(options.faces, tuple):
        rest = list(options.faces)
        named |= set(rest)
    elif options.faces == "nearest" and nearest is not None:
        rest = [nearest]
        named |= set(rest)
    else:
        rest = [index for index in crowd.by_size() if index not in givers and index not in left]
        if options.faces == "largest":
            rest = rest[:1]
            named |= set(rest)
    for index in sorted(named):
        _check_index(crowd, index)
        if index in left:
            raise FaceError(f"人脸不可用 (face {index} cannot be swapped: {left[index]}; {crowd.listed()})")
    if rest and not options.main:
        raise FaceError(f"人脸图片不足 (no source is there for face {min(rest)}, and the picture has {crowd.listed()})")
    if len(givers) + len(rest) > most:
        room = max(0, most - len(givers))
        left |= {index: f"beyond the {most} largest" for index in rest[room:]}
        rest = rest[:room]
    givers |= {index: Giver(None, options.source_face) for index in rest}
    if not givers:
        why = "; ".join(f"{index}: {reason}" for index, reason in list(left.items())[:20])
        raise FaceError(f"没有可用的人脸 (no face can be swapped: {why}; {crowd.listed()})")
    left = {index: left.get(index, NOT_ASKED) for index in range(len(crowd)) if index not in givers}
    return Choice(dict(sorted(givers.items())), left, frozenset(named))


def _unfit(options: Options, crowd: Crowd, smallest: int) -> dict[int, str]:
    left = {}
    for index, (side, score) in enumerate(zip(crowd.sides, crowd.faces.scores, strict=True)):
        if side < smallest:
            left[index] = f"too small: {side:.0f} pixels, and {smallest} are asked for"
        elif score < options.min_score:
            left[index] = f"too unsure: {score:.2f}, and {options.min_score:g} is asked for"
    return left


def _check_any(crowd: Crowd) -> None:
    if not len(crowd):
        raise FaceError("未检测到人脸 (no face was found; use a picture in which a face is clearly visible)")


def _check_index(crowd: Crowd, index: int) -> None:
    if index >= len(crowd):
        raise FaceError(f"人脸序号超出范围 (there is no face {index}; {crowd.listed()})")
