"""What lies in front of a face and can be told from its skin: glasses, a glove, a microphone, a strand of hair.

A thing is where the colour is far from the skin thereabouts and changes there at once. Blush, stubble and most shade come on slowly, and
wide shade keeps the tint of skin; lips, eyes and brows are let through by the mesh, unless the thing reaches over them. What has the
colour of skin, as a bare hand, cannot be told.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from serve_app.vision.colour import low_pass
from serve_app.vision.face import Floats, Mask, Pixels
from serve_app.vision.mask import blur, disc, features, hull, outline, polygon
from serve_app.vision.mesh import LEFT_BROW, LEFT_EYE, RIGHT_BROW, RIGHT_EYE, Mesh
from serve_app.vision.view import View, to_lab

# Spots of bare skin: forehead, between the brows, root of the nose, cheeks, tip of the nose, chin, sides of the mouth.
_SPOTS = np.array([(151, 9, 8, 108), (168, 6, 193, 417), (50, 101, 205, 118), (280, 330, 425, 347), (195, 197, 5, 4), (199, 175, 200, 18),
                   (187, 207, 123, 147), (411, 427, 352, 376)])  # fmt: skip
_NOSTRILS = ((2, 97, 98, 64, 48, 219, 218, 239, 20, 60), (2, 326, 327, 294, 278, 439, 438, 459, 250, 290))
_SOCKETS = (LEFT_EYE + LEFT_BROW, RIGHT_EYE + RIGHT_BROW)
_COARSE = 4  # view pixels in one of the skin's field
_LEVELS = (2.0, 1.4, 1.0)
_SHARP = 0.35  # a change of so much from one pixel to the next: measured, at most 0.28 on faces with nothing before them
_SHARP_AT = 112.0  # pixels across a face; the smaller it is, the steeper everything
_SMALLEST = 0.002  # faces squared
_LARGEST_HOLE = 0.012
_MOST = 0.6  # of a face: above that it was its skin that was taken for something else
_NEXT, _NEAR = np.ones((3, 3), np.uint8), np.ones((7, 7), np.uint8)


def covering(view: View) -> Floats:
    """(h, w) float32 in 0..1: how much of each pixel belongs to things in front of the face."""
    unit = view.size
    face = polygon(view.shape, [hull(view.points, range(468))]) > 0.5
    let_through = np.asarray(cv2.dilate(_parts(view), disc(unit * 0.025)), np.float32)
    bare = outline(view, 0.03, 1.0) * (1 - let_through)
    lab = blur(view.lab, unit * 0.005)
    strange = _strangeness(lab, _skin(lab, bare, view.points, unit), bare, unit)
    things = _things(strange, face & (let_through < 0.3), unit)
    if not 0 < things.sum() < _MOST * face.sum():
        return np.zeros(view.shape, np.float32)
    things = _whole(things, lab, (strange > 1) & face, unit)
    solid = np.asarray(cv2.morphologyEx(things.astype(np.uint8), cv2.MORPH_CLOSE, disc(unit * 0.03)), np.uint8)
    return blur(np.asarray(cv2.dilate(_filled(solid, unit), _NEXT), np.float32), unit * 0.006)


def cleared(pixels: Pixels, view: View, covered: Floats) -> tuple[Pixels, View]:
    """The picture (h, w, 3) uint8 that the view was made of, and the view, with the skin about them in the place of the things."""
    skin = low_pass(view.bgr, 1 - covered, 0.05 * view.size, 1e-4)
    bgr = view.bgr + covered[..., None] * (skin - view.bgr)
    x0, y0, x1, y1 = box = view.box(covered, pixels.shape)
    part = pixels[y0:y1, x0:x1].astype(np.float32)
    part += view.enlarge(covered, box)[..., None] * (view.enlarge(skin * np.float32(255), box) - part)
    result = pixels.copy()
    result[y0:y1, x0:x1] = np.clip(np.round(part), 0, 255)
    return result, replace(view, bgr=bgr, lab=to_lab(bgr))


def _filled(solid: Pixels, unit: float) -> Pixels:
    """Without holes smaller than a lens."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - solid, connectivity=4)
    hole = stats[:, cv2.CC_STAT_AREA] < _LARGEST_HOLE * unit**2
    hole[0] = False
    return np.where(hole[labels], np.uint8(1), solid)


def _parts(view: View) -> Floats:
    """Lips, eyes, brows and nostrils; and what lies between an eye and its brow, which may be dark."""
    others = polygon(view.shape, [hull(view.points, part) for part in (*_NOSTRILS, *_SOCKETS)])
    return np.maximum(features(view.shape, view.points), others)


def _skin(lab: Floats, bare: Floats, points: Mesh, unit: float) -> Floats:
    """(h, w, 3): the L*a*b* that skin has about each pixel, found by weighing down what differs, at three widths."""
    height, width = bare.shape
    small = (max(8, round(width / _COARSE)), max(8, round(height / _COARSE)))
    start = _commonest(lab, points)
    coarse = cv2.resize(np.concatenate([lab * bare[..., None], bare[..., None]], 2), small, interpolation=cv2.INTER_AREA)
    seen = coarse[..., 3:]
    mean = coarse[..., :3] / (seen + np.float32(1e-3))
    skin = np.broadcast_to(start, mean.shape)
    for reach, light, tint in ((0.4, 20, 12), (0.25, 18, 11), (0.15, 15, 10)):
        away = (mean - skin) / np.array([light, tint, tint], np.float32)
        weight = seen * np.exp(-(away * away).sum(2, keepdims=True))
        stack = np.concatenate([mean * weight, weight], 2)
        stack = cv2.GaussianBlur(stack, (0, 0), reach * unit / _COARSE, borderType=cv2.BORDER_CONSTANT)
        skin = (stack[..., :3] + np.float32(0.02) * start) / (stack[..., 3:] + np.float32(0.02))
    return np.asarray(cv2.resize(skin, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _commonest(lab: Floats, points: Mesh) -> Floats:
    """(3,): of the spots' colours the one most like the others; spots far colder than the warmest are a mask's, and left out."""
    at = np.round(points[_SPOTS]).astype(np.intp)
    x, y = np.clip(at[..., 0], 0, lab.shape[1] - 1), np.clip(at[..., 1], 0, lab.shape[0] - 1)
    spots = np.median(lab[y, x], 1)
    warmth = spots[:, 1] + spots[:, 2]
    spots = spots[warmth >= 0.5 * np.sort(warmth)[-2] - 2]
    if len(spots) < 3:  # what a mask leaves: the warmest, for glare on skin is as cold as the mask
        return np.asarray(spots[(spots[:, 1] + spots[:, 2]).argmax()], np.float32)
    apart = np.linalg.norm((spots[:, None] - spots[None]) / [2, 1, 1], axis=2)
    return np.asarray(spots[np.median(apart, 1).argmin()], np.float32)


def _strangeness(lab: Floats, skin: Floats, bare: Floats, unit: float) -> Floats:
    """(h, w): how unlike skin, 1 for what may be a thing. A face of many tints is given more room."""
    tint = _distance(lab, skin, np.float32(1))
    seen = tint[bare > 0.6]
    room = float(np.clip(2.6 * np.percentile(seen, 40), 14, 30)) if len(seen) else 30.0
    away = lab[..., 0] - skin[..., 0]
    light = np.maximum(away / 20, -away / 30) * (1 - _lit(lab, skin, unit))
    return np.asarray(cv2.magnitude(tint / room, light), np.float32)


def _lit(lab: Floats, skin: Floats, unit: float) -> Floats:
    """(h, w) in 0..1: whether a pixel lies in a wide patch of that skin under more or less light.

    L* + 16, a* and b* are proportional under more or less of the same light (CIE 15). Skin without a tint tells nothing, and something thin
    and black is as dark skin to a camera that smears it.
    """
    light = (lab[..., 0] + 16) / (skin[..., 0] + 16)
    off, own = _distance(lab, skin, light), light * np.asarray(cv2.magnitude(skin[..., 1], skin[..., 2]), np.float32)
    alike = np.clip((0.75 - off / (own + np.float32(1.5))) / 0.35, 0, 1) * np.clip((own - 3) / 3, 0, 1)
    alike *= np.abs(lab[..., 0] - skin[..., 0]) > 10
    return np.asarray(cv2.morphologyEx(alike.astype(np.float32), cv2.MORPH_OPEN, disc(unit * 0.04)), np.float32)


def _distance(lab: Floats, skin: Floats, light: Floats | np.float32) -> Floats:
    """(h, w): between the tints of pixels and of skin that so much light falls on."""
    return np.asarray(cv2.magnitude(lab[..., 1] - light * skin[..., 1], lab[..., 2] - light * skin[..., 2]), np.float32)


def _things(strange: Floats, plain: Mask, unit: float) -> Mask:
    """Of what is strange on bare skin, what lies within a sharp border. Several levels part a thing from the shade it lies in."""
    across, down = cv2.Sobel(strange, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(strange, cv2.CV_32F, 0, 1, scale=1 / 8)
    slope = np.asarray(cv2.dilate(cv2.magnitude(across, down), _NEXT), np.float32)
    inner = cv2.erode(plain.astype(np.uint8), _NEXT) > 0
    found = np.zeros(plain.shape, np.uint8)
    for level in _LEVELS:
        patches = ((strange > level) & plain).astype(np.uint8)
        if cv2.countNonZero(patches) < _SMALLEST * unit**2:
            continue
        border = (patches > 0) & (cv2.erode(patches, _NEXT) == 0) & inner & (cv2.dilate(found, _NEAR) == 0)
        edge = border.astype(np.float32)
        stack = _coarse(np.stack([slope * edge, edge], 2), 0.05 * unit)
        sharp = stack[..., 0] > _SHARP * max(1.0, _SHARP_AT / unit) * stack[..., 1] + np.float32(1e-7)
        patches &= sharp | (found > 0)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(patches, connectivity=8)
        pixels = np.bincount(labels[border], minlength=count)
        chosen = (stats[:, cv2.CC_STAT_AREA] > _SMALLEST * unit**2) & (pixels > 0.06 * unit)
        chosen[0] = False
        found |= chosen[labels]
    return found > 0


def _coarse(stack: Floats, reach: float) -> Floats:
    """Blurred by `reach` pixels at a fraction of the cost."""
    height, width = stack.shape[:2]
    small = (max(8, round(width / _COARSE)), max(8, round(height / _COARSE)))
    low = cv2.GaussianBlur(cv2.resize(stack, small, interpolation=cv2.INTER_AREA), (0, 0), reach / _COARSE, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _whole(things: Mask, lab: Floats, strange: Mask, unit: float) -> Mask:
    """The things with those of their parts that lie over lips, eyes and brows, told by their colour."""
    here = things.astype(np.float32)[..., None]
    stack = _coarse(np.concatenate([lab * here, here], 2), 0.08 * unit)
    colour = stack[..., :3] / (stack[..., 3:] + np.float32(1e-6))
    away = (lab - colour) / np.array([12, 9, 9], np.float32)
    joined = (things | (strange & ((away * away).sum(2) < 1))).astype(np.uint8)
    count, labels = cv2.connectedComponents(joined, connectivity=8)
    touched = np.bincount(labels[things], minlength=count) > 0
    touched[0] = False
    whole: Mask = touched[labels]
    return whole
