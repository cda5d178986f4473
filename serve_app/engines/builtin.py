"""The built-in swap: a mesh warp with matched colours, no learned weights of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from serve_app.vision import mask
from serve_app.vision.face import FaceError, Patch, Pixels, Portrait, SwapItem
from serve_app.vision.gaze import looking_like
from serve_app.vision.mesh import IRISES, VERTICES, Mesh, Topology, face_size, yaw
from serve_app.vision.occlusion import covering
from serve_app.vision.shape import FaceShape
from serve_app.vision.steps import EVERY_STEP, Steps
from serve_app.vision.transplant import Crop, Overlay, transplant
from serve_app.vision.view import View

_SMALLEST = 12.0  # pixels across a mesh


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two faces ready to swap: the source at the target's scale, the target and its corner (x, y) in the target's square,
    and points (468, 2) where the source's vertices go in the target's crop."""

    source: Crop
    target: Crop
    corner: tuple[int, int]
    points: Mesh


class MeshSwapEngine:
    """Engine[SwapItem, Pair, Overlay, Patch] on Portraits whose features are (478, 3) float32 meshes in pixels of their squares.

    shape: 0 to 1, how much of the source's proportions is kept. light: 0 to 1, how much of the target's shading is laid on.
    working_size: pixels across the face at which colours and masks are made. Nothing is kept between items, so any number of threads
    may share one engine, and the same item gives the same bytes. OpenCV's own threads are turned off for the whole process: slots are
    the parallelism.
    """

    buckets: tuple[int, ...] = (1,)

    def __init__(
        self,
        topology: Topology,
        *,
        slots: int = 1,
        shape: float = 0.6,
        light: float = 0.7,
        working_size: int = 128,
        steps: Steps = EVERY_STEP,
    ) -> None:
        self.slots = slots
        self._topology = topology
        self._face = FaceShape(topology)
        self._shape = shape
        self._light = light
        self._working_size = working_size
        self._steps = steps
        cv2.setNumThreads(1)

    def warm_up(self) -> None:
        """Swaps the canonical face with itself. Raises RuntimeError when nothing comes of it."""
        side = 160
        mesh = (self._topology.vertices * [5, -5, -5] + [side / 2, side / 2, 0]).astype(np.float32)
        pixels = np.random.default_rng(0).integers(60, 200, (side, side, 3), np.uint8)
        portrait = Portrait(mesh, pixels)
        item = SwapItem(portrait, portrait)
        patch = self.post(item, self.run([self.pre(item)])[0])
        if not patch.mask.any():
            raise RuntimeError("the built-in swap left its own test face untouched")

    def info(self) -> dict[str, str]:
        return {"runtime": "opencv", "opencv": str(cv2.__version__), "precision": "float32", "threads": "1", "slots": str(self.slots)}

    def pre(self, item: SwapItem) -> Pair:
        """Finds where the source's mesh goes on the target. Raises FaceError for meshes that cannot be those of faces."""
        source, _ = _crop(item.source, "source", 0.1)
        target, corner = _crop(item.target, "target", 0.12)
        self._check_turn(source, target)
        pose = self._face.pose(source.mesh, target.mesh)
        if pose.scale < 1e-3:
            raise FaceError("The source face cannot be laid onto the target face. Use pictures that show them more clearly.")
        points = self._face.retarget(pose.apply(source.mesh), target.mesh, self._shape)
        if self._steps.occlusion:  # at its own size: the same things for every target
            source = replace(source, covered=covering(View.of(source.pixels, source.mesh, self._working_size)))
        source = _shrink(source, pose.scale)
        return Pair(_looking_like(source, target) if self._steps.gaze == "target" else source, target, corner, points)

    def _check_turn(self, source: Crop, target: Crop) -> None:
        apart, most = abs(yaw(source.mesh) - yaw(target.mesh)), self._steps.most_turn
        if most is not None and apart > most:
            raise FaceError(
                f"The source face is turned by {apart:.0f} degrees unlike the target face, and at most {most:g} are allowed here. "
                "Use a source picture that shows more of the same side."
            )

    def run(self, batch: Sequence[Pair]) -> list[Overlay]:
        """Overlays in pixels of the targets' squares. Raises FaceError when nothing of a face can be replaced."""
        return [self._swap(pair) for pair in batch]

    def _swap(self, pair: Pair) -> Overlay:
        overlay = transplant(
            self._face, pair.source, pair.target, pair.points, light=self._light, working_size=self._working_size, steps=self._steps
        )
        if not overlay.mask.any():
            raise FaceError("Too little of the two faces can be seen to swap them. Use pictures that show them more clearly.")
        return replace(overlay, corner=(overlay.corner[0] + pair.corner[0], overlay.corner[1] + pair.corner[1]))

    def post(self, item: SwapItem, raw: Overlay) -> Patch:
        pixels = np.array(_pixels(item.target, "target"))
        shown = np.zeros(pixels.shape[:2], np.uint8)
        x, y = raw.corner
        height, width = raw.mask.shape
        pixels[y : y + height, x : x + width] = raw.pixels
        shown[y : y + height, x : x + width] = raw.mask
        return Patch(pixels, shown)


def _pixels(portrait: Portrait, name: str) -> Pixels:
    if portrait.pixels is None or portrait.pixels.ndim != 3 or portrait.pixels.size == 0:
        raise FaceError(f"The {name} face came without its picture.")
    return portrait.pixels


def _mesh(portrait: Portrait, name: str) -> tuple[Mesh, Mesh]:
    """(468, 3) float64, finite and of a face's proportions, and its irises, (10, 3), or (0, 3) where they cannot be used."""
    features = np.empty((0, 3)) if portrait.features is None else np.asarray(portrait.features, np.float64)
    mesh, irises = features[:VERTICES], features[VERTICES:]
    if mesh.shape != (VERTICES, 3) or not np.isfinite(mesh).all():
        raise FaceError(f"The face in the {name} picture could not be measured. Use one that shows it more clearly.")
    width, height, depth = np.ptp(mesh, axis=0)
    size = max(width, height)
    if size < _SMALLEST:
        raise FaceError(f"The face in the {name} picture is too small to swap. Use a larger one.")
    if min(width, height) < 0.1 * size or depth > 4 * size:
        raise FaceError(f"The face in the {name} picture could not be measured. Use one that shows it more clearly.")
    return mesh, irises if irises.shape == (IRISES, 3) and np.isfinite(irises).all() else np.empty((0, 3))


def _crop(portrait: Portrait, name: str, margin: float) -> tuple[Crop, tuple[int, int]]:
    """The face with a margin of so many faces, and the crop's corner (x, y) in the square."""
    pixels, (mesh, irises) = _pixels(portrait, name), _mesh(portrait, name)
    extent = np.array(pixels.shape[1::-1])
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    size, middle = face_size(mesh), (low + high) / 2
    if (middle < 0).any() or (middle > extent).any() or size > 2 * extent.max():
        raise FaceError(f"The face in the {name} picture lies outside the part of it that was looked at.")
    x0, y0 = (int(v) for v in np.maximum(np.floor(low - margin * size), 0))
    x1, y1 = (int(v) for v in np.minimum(np.ceil(high + margin * size) + 1, extent))
    corner = np.array([x0, y0, 0])
    return Crop(pixels[y0:y1, x0:x1], mesh - corner, irises - corner, size, _photo(pixels, x0, y0)), (x0, y0)


def _photo(pixels: Pixels, x: int, y: int) -> tuple[float, float, float, float]:
    """Where the photograph ends, seen from (x, y) of its square; infinite for sides that it does not end at."""
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = mask.photographed(pixels)
    far = (x1 - x if x1 < width else np.inf, y1 - y if y1 < height else np.inf)
    return x0 - x if x0 else -np.inf, y0 - y if y0 else -np.inf, *far


def _shrink(crop: Crop, scale: float) -> Crop:
    """The crop brought down to the target's scale; a small source is not enlarged."""
    if scale >= 1:
        return crop
    height, width = crop.pixels.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pixels = np.asarray(cv2.resize(crop.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    step = np.array([size[0] / width, size[1] / height, size[0] / width])
    half = np.array([0.5, 0.5, 0.0])
    mesh, irises = ((points + half) * step - half for points in (crop.mesh, crop.irises))
    x0, y0, x1, y1 = crop.photo
    photo = (x0 * step[0], y0 * step[1], x1 * step[0], y1 * step[1])
    return Crop(pixels, mesh, irises, face_size(mesh), photo, crop.covered)


def _looking_like(source: Crop, target: Crop) -> Crop:
    if not (len(source.irises) and len(target.irises)):
        return source
    mesh, other = (np.concatenate([crop.mesh, crop.irises]) for crop in (source, target))
    return replace(source, pixels=looking_like(source.pixels, mesh, other))
