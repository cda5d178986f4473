"""Model files with the signatures of det_10g, w600k_r50 and inswapper_128, made on demand and never committed.

true_cost: the real layers and sizes (746 MB), random weights. narrow: 1/8 of the channels. functional: worked out by hand.
All three detectors find the faces that `tests.standins.painting` plants, and nothing else.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import onnx

from tests.standins import functional, nets

Kind = Literal["true_cost", "functional", "narrow"]

Maker = Callable[[], onnx.ModelProto]
MAKERS: dict[Kind, tuple[Maker, Maker, Maker]] = {
    "true_cost": (nets.detector, nets.recogniser, nets.swapper),
    "narrow": (partial(nets.detector, 8), partial(nets.recogniser, 8), partial(nets.swapper, 8)),
    "functional": (functional.detector, functional.recogniser, functional.swapper),
}


@dataclass(frozen=True, slots=True)
class Standins:
    detector: Path
    recogniser: Path
    swapper: Path


def build(folder: Path, kind: Kind) -> Standins:
    """The three files in `folder`, made unless this version of this package has made them there."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.onnx" for name in ("det_10g", "w600k_r50", "inswapper_128")]
    stamp, ours = folder / "standins.txt", f"{kind} {_version()}\n"
    if not (stamp.exists() and stamp.read_text() == ours and all(path.exists() for path in paths)):
        stamp.unlink(missing_ok=True)
        for path, make in zip(paths, MAKERS[kind], strict=True):
            part = path.with_suffix(".part")
            onnx.save(make(), str(part))
            os.replace(part, path)
        stamp.write_text(ours)
    return Standins(*paths)


def _version() -> str:
    sources = (Path(__file__).with_name(f"{name}.py") for name in ("graph", "planting", "nets", "functional"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
