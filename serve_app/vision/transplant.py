"""One face laid over another: masks and colours at working size, then a single pass over the face's own pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from serve_app.vision import blend, colour, grain, mask
from serve_app.vision.face import Floats, Pixels
from serve_app.vision.keep import kept
from serve_app.vision.mesh import LEFT_EYE, MOUTH, RIGHT_EYE, Mesh
from serve_app.vision.occlusion import cleared, covering
from serve_app.vision.shape import FaceShape
from serve_app.vision.steps import Steps
from serve_app.vision.texture import Texture
from serve_app.vision.view import View, to_bgr, to_lab


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A face and its surroundings: pixels (h, w, 3) uint8 BGR, mesh (468, 3) float64 in them, size of the mesh in pixels.

    irises: (10, 3) in the same pixels, the mesh's further vertices; (0, 3) where they are not known.
    photo: (x0, y0, x1, y1), where the photograph ends, in these pixels; infinite for sides it does not end at.
    covered: (h, w) float32 of the same picture at any size, how much of it belongs to things before the face; None: not looked for.
    """

    pixels: Pixels
    mesh: Mesh
    irises: Mesh
    size: float
    photo: tuple[float, float, float, float]
    covered: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """The swapped face: pixels (h, w, 3) uint8 BGR, mask (h, w) uint8, and its corner (x, y) in what it was made for."""

    pixels: Pixels
    mask: Pixels
    corner: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Small:
    """The source laid over the target's view: bgr (h, w, 3) in 0..1; shown (h, w), how far it replaces the target there;
    brightness (h, w), a factor for mirrored skin."""

    bgr: Floats
    shown: Floats
    brightness: Floats


def transplant(face: FaceShape, source: Crop, target: Crop, points: Mesh, *, light: float, working_size: float, steps: Steps) -> Overlay:
    """The source's face in the target's place, with the target's colours, light and outline.

    source: brought to the target's scale. points: (468, 2), where its vertices go in the target's crop. light: 0 to 1, how much of the
    target's shading is laid on. working_size: pixels across the face at which masks and colours are made.
    """
    view = View.of(target.pixels, target.mesh, working_size)
    source = replace(source, pixels=colour.faded(source.pixels, colour.colourful(view.lab)))  # no red lips in a black and white photograph
    texture = Texture.of(face, source.mesh, target.mesh, points, target.pixels.shape[:2], view)
    source, source_view, source_covered = _uncovered(source, working_size)
    free = 1 - covering(view) if steps.occlusion else np.ones(view.shape, np.float32)
    small = _lay(source, source_view, source_covered, texture, view)
    lab, moved = to_lab(small.bgr), (points + 0.5) * view.step - 0.5
    regions = _regions(view, moved, free).within(small.shown)
    shown = small.shown * colour.usable(lab, view.lab, regions, view.size)
    matched = to_bgr(colour.match(lab, view.lab, regions.within(shown), view.size, light))
    gain, offset = colour.local_affine(small.bgr, np.clip(matched, 0, 1), max(1, round(view.size * 0.03)))

    reach = np.clip(mask.blur(shown, max(1, view.size * 0.04)) * 12, 0, 1)  # as far as the coarsest band goes
    box = view.box(reach, target.pixels.shape)
    swapped = texture.full(source.pixels, box, view, small.brightness)
    swapped *= view.enlarge(gain, box)
    swapped += view.enlarge(offset * np.float32(255), box)
    np.clip(swapped, 0, 255, out=swapped)

    below = target.pixels[box[1] : box[3], box[0] : box[2]]
    own = (shown > 0).astype(np.float32) * (1 - kept(view.shape, source.mesh, target.mesh, view.points, view.size))
    if steps.grain:
        seen = own * free
        skin, drawn = view.enlarge(regions.within(seen).skin, box), view.enlarge(regions.features * seen, box)
        swapped += grain.matching(swapped, below, skin, drawn)[..., None]
    pixels = _laid(swapped, below, view.enlarge(own, box), view.enlarge(shown, box), view.enlarge(free, box), blend.bands(target.size))
    return Overlay(pixels, np.round(view.enlarge(reach, box) * 255).astype(np.uint8), (box[0], box[1]))


def _laid(swapped: Floats, below: Pixels, own: Floats, shown: Floats, free: Floats, bands: int) -> Pixels:
    """The new face over the old one: (h, w, 3) uint8. own, shown, free: (h, w), what is not kept of the target, the blend's mask, and
    where nothing lies before the target's face."""
    swapped -= below
    swapped *= own[..., None]
    added = blend.multiband(swapped, shown, bands)
    if free.min() < 1:  # last of all, so that no band of the new face reaches over what lies before it
        added *= free[..., None]
    return np.asarray(cv2.add(added, below, dtype=cv2.CV_8U), np.uint8)


def _uncovered(source: Crop, working_size: float) -> tuple[Crop, View, Floats]:
    """The source and its view without the things before its face, and where these were."""
    view = View.of(source.pixels, source.mesh, working_size)
    if source.covered is None or not source.covered.any():
        return source, view, np.zeros(view.shape, np.float32)
    covered = np.asarray(cv2.resize(source.covered, view.shape[::-1], interpolation=cv2.INTER_AREA), np.float32)
    covered = np.asarray(cv2.dilate(covered, mask.disc(0.02 * view.size)), np.float32)
    pixels, view = cleared(source.pixels, view, covered)
    return replace(source, pixels=pixels), view, covered


def _lay(source: Crop, source_view: View, source_covered: Floats, texture: Texture, view: View) -> _Small:
    hair, source_hair = mask.not_skin(view), np.maximum(mask.not_skin(source_view), source_covered)
    small = _blend_halves(source, source_view, texture, view, hair, source_hair)
    if small.shown.sum() < 0.1 * texture.cover.sum():  # covered almost everywhere: then it was not hair, but skin of two colours
        bare, source_bare = np.zeros_like(hair), np.zeros_like(source_hair)
        small = _blend_halves(source, source_view, texture, view, bare, source_bare)
    return small


def _blend_halves(source: Crop, source_view: View, texture: Texture, view: View, hair: Floats, source_hair: Floats) -> _Small:
    forehead = min(mask.bare_forehead(hair, view.points), mask.bare_forehead(source_hair, source_view.points))
    x0, y0, x1, y1 = source.photo
    across, down = source_view.step
    photo = mask.within(source_view.shape, (x0 * across, y0 * down, x1 * across, y1 * down), 0.08 * source_view.size)
    skin = mask.outline(source_view, 0.04, forehead) * (1 - source_hair) * photo
    layers = np.concatenate([source_view.bgr, skin[..., None]], 2)
    laid, brightness = texture.small(layers, source_view, False), np.ones(view.shape, np.float32)
    if texture.mirrored is not None:
        other = texture.small(layers, source_view, True)
        brightness = colour.continued(laid, other, 1 - texture.share, view.size)
        other[..., :3] *= brightness[..., None]
        laid += texture.share[..., None] * (other - laid)
    shown = np.minimum(laid[..., 3] * texture.cover, mask.outline(view, 0.06, forehead) * (1 - hair))
    return _Small(np.ascontiguousarray(np.clip(laid[..., :3], 0, 1)), np.clip(shown, 0, 1), brightness)


def _regions(view: View, moved: Mesh, free: Floats) -> colour.Regions:
    """moved: (468, 2), where the source's vertices are in the target's view. free: (h, w), where nothing lies before the target's face."""
    features = mask.features(view.shape, moved, view.points)
    bare = 1 - mask.blur(features, view.size * 0.01)
    teeth = mask.polygon(view.shape, [moved[list(MOUTH)]])
    eyes = mask.polygon(view.shape, [moved[list(eye)] for eye in (LEFT_EYE, RIGHT_EYE)])
    wet = mask.blur(np.maximum(teeth, eyes), max(0.7, view.size * 0.006))
    everywhere = np.ones(view.shape, np.float32)
    return colour.Regions(everywhere, bare * free, wet=wet, teeth=teeth, features=features, rim=1 - mask.centre(view))
