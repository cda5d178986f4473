"""What a swap of one face costs with the built-in models, by the face's size."""

from __future__ import annotations

import statistics
from functools import partial

import cv2
import numpy as np

from benchmarks.timing import timed
from serve_app.engines.builtin import MeshSwapEngine
from serve_app.engines.facemesh import FaceMeshEngine
from serve_app.engines.weights import FACEMESH, load_topology
from serve_app.vision.face import Patch, SwapItem
from serve_app.vision.mesh import face_size
from tests.engines.nets import builtin
from tests.gallery import Person, gallery, person


def swap_times(size: int, rounds: int) -> dict[str, float]:
    """The built-in swap of one face whose mesh is `size` pixels, pre to post: real people brought to that size, each given another's.

    Best of the rounds beside the median: an absolute figure must not tell of the neighbours.
    """
    engine, measure = MeshSwapEngine(load_topology(builtin())), FaceMeshEngine(builtin() / FACEMESH, precision="exact", threads=1)
    found = gallery(builtin())
    people = [enlarged(one, size, measure).portrait for one in (found.astronaut, found.hanks, *found.six)]
    medians, bests = [], []
    for source, target in zip(people[1:] + people[:1], people, strict=True):
        swap = timed(partial(swapped, engine, SwapItem(source, target)))
        swap()  # warm
        taken = [swap() * 1e3 for _ in range(max(1, rounds // 3))]
        medians.append(statistics.median(taken))
        bests.append(min(taken))
    sizes = [face_size(np.asarray(one.features, np.float64)) for one in people]
    return {
        "mesh_px": size,
        "measured_px": statistics.median(sizes),
        "median_ms": statistics.median(medians),
        "best_ms": statistics.median(bests),
        "slowest_best_ms": max(bests),
    }


def swapped(engine: MeshSwapEngine, item: SwapItem) -> Patch:
    return engine.post(item, engine.run([engine.pre(item)])[0])


def enlarged(one: Person, size: int, measure: FaceMeshEngine) -> Person:
    """The same person in a picture scaled so that the mesh is about so many pixels."""
    scale = size * float(np.linalg.norm(one.matrix[:, 0])) / face_size(np.asarray(one.mesh, np.float64))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = np.asarray(cv2.resize(one.picture, None, fx=scale, fy=scale, interpolation=how), np.uint8)
    return person(picture, one.keypoints * np.float32(scale), measure, max_side=1024)
