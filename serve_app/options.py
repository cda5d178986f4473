"""What may be asked for beside the two pictures of a swap: a request's `options`, as they travel with its task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

MOST_FACES = 1000

# Faces are numbered from 0, left to right by the middle of their boxes; see vision/crowd.py.
Index: TypeAlias = Annotated[int, Field(ge=0, lt=MOST_FACES)]


def _one(given: object) -> object:
    if given == "largest" or (isinstance(given, int) and not isinstance(given, bool) and 0 <= given < MOST_FACES):
        return given
    raise PydanticCustomError("face", f"must be `largest` or the index of a face, a whole number from 0 to {MOST_FACES - 1}")


One: TypeAlias = Annotated[Literal["largest"] | Index, BeforeValidator(_one)]


class Part(BaseModel):
    """Members that are not known are refused, so that none is asked for in vain."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=False, extra="forbid", strict=True, frozen=True, hide_input_in_errors=True
    )


class OutputWish(Part):
    """How the result is written. Without a format it is the target's, or the nearest to it that is written here."""

    format: Literal["jpeg", "png", "webp", "avif"] | None = Field(None, description="`jpeg` has no alpha: the picture is laid on white.")
    quality: int | None = Field(None, ge=50, le=100, description="Of JPEG, WebP and AVIF, on the scale of each; the server's unless given.")


class Wishes(Part):
    """What needs no picture of its own, the same in a request and with its task."""

    source_face: One = Field("largest", description="Which face of the source picture: `largest`, or its index.")
    min_face: int = Field(0, ge=0, le=10_000, description="Faces whose box has a shorter side, in pixels, are left alone.")
    min_score: float = Field(0, ge=0, le=1, description="Faces of which the detector is less sure are left alone.")
    output: OutputWish | None = Field(None, description="The format and quality of the result.")


class Mapped(Part):
    """One face of a further picture, and the target's faces that it goes on. picture: its number among them; None: the main source."""

    picture: int | None
    face: One
    targets: tuple[Index, ...]


class Options(Wishes):
    """As they travel with a task. nearest: number, among the further pictures, of the one that `faces` means. main: whether the source
    picture is one of its own, and not merely the first of `sources`."""

    faces: Literal["largest", "all", "nearest"] | tuple[Index, ...] = "largest"
    nearest: int | None = None
    sources: tuple[Mapped, ...] = ()
    main: bool = True

    @property
    def pictures(self) -> int:
        """How many pictures came with them."""
        return sum(one.picture is not None for one in self.sources) + (self.nearest is not None)

    def shown(self, picture: int | None) -> int | None:
        """Where a further picture stands in the request's `sources`; None for the source picture of its own."""
        if self.main:
            return picture
        return 0 if picture is None else picture + 1

    def stored(self) -> dict[str, Any] | None:
        """For the task's row: JSON, without what nobody asked for."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True) or None

    @staticmethod
    def of(stored: Mapping[str, Any] | None) -> Options:
        """What `stored` gave. Raises ValidationError for what this release does not know."""
        return Options.model_validate(dict(stored or {}), strict=False)


NOTHING_ASKED = Options()
