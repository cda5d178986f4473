"""What the built-in swap does beyond laying one face on another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Gaze: TypeAlias = Literal["source", "target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Each can be left out, to see what it does.

    occlusion: glasses, gloves, strands of hair and the like in front of the target's face stay, those of the source are not taken along.
    grain: the new face is made as soft and as noisy as the target.
    gaze: whose irises lie between the lids as the new face's do.
    most_turn: degrees by which the heads may be turned unlike each other; a face beyond that is refused. None: no face is.
    """

    occlusion: bool = True
    grain: bool = True
    gaze: Gaze = "target"
    most_turn: float | None = None


EVERY_STEP = Steps()
BARE = Steps(occlusion=False, grain=False, gaze="source")
