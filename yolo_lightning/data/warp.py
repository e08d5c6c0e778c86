"""Drawing images onto a canvas through one matrix, and moving their boxes through the same one.

Coordinates are continuous: pixel i covers i…i + 1, so that a matrix moves pixels and boxes alike.
"""

from __future__ import annotations

from math import ceil, cos, floor, radians, sin, tan
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from yolo_lightning.data.transforms import PADDING_VALUE

__all__ = ["RandomMatrix", "draw", "keep_boxes", "new_canvas", "random_matrix", "transform_boxes"]

Matrix = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]


class RandomMatrix(NamedTuple):
    """A map from one canvas to another.

    Attributes:
        matrix: (3, 3) acting on columns (x, y, 1).
        gain: Its scale factor, without shear and perspective.
    """

    matrix: Matrix
    gain: float


def random_matrix(
    generator: np.random.Generator,
    source: tuple[int, int],
    target: tuple[int, int],
    *,
    degrees: float = 0.0,
    translate: float = 0.0,
    scale: float = 0.0,
    shear: float = 0.0,
    perspective: float = 0.0,
) -> RandomMatrix:
    """Draws perspective, rotation, scale, shear and shift about the centre, as YOLOv5 does.

    Always eight draws, in this order: perspective x and y, angle, scale, shear x and y, shift x and y.

    Args:
        generator: Source of the random numbers.
        source: Size (height, width) of the canvas that is mapped.
        target: Size (height, width) of the canvas mapped to; a shift of 0 puts centre on centre.
        degrees: Rotation in ±degrees.
        translate: Shift in ± fractions of ``target``.
        scale: Gain in 1 ± scale.
        shear: Shear in ±degrees, both axes.
        perspective: Both perspective terms, in ± 1/pixel.
    """
    unit = generator.uniform(-1, 1, 8).tolist()
    angle, gain = radians(degrees * unit[2]), 1 + scale * unit[3]
    centre = np.array([[1, 0, -source[1] / 2], [0, 1, -source[0] / 2], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, 1, 0], [perspective * unit[0], perspective * unit[1], 1]])
    cosine, sine = gain * cos(angle), gain * sin(angle)
    rotation = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    slant = np.array([[1, tan(radians(shear * unit[4])), 0], [tan(radians(shear * unit[5])), 1, 0], [0, 0, 1]])
    shift_x, shift_y = ((0.5 + translate * unit[6 + axis]) * target[1 - axis] for axis in (0, 1))
    shift = np.array([[1, 0, shift_x], [0, 1, shift_y], [0, 0, 1]])
    return RandomMatrix(shift @ slant @ rotation @ tilt @ centre, gain)


def transform_boxes(boxes: Boxes, matrix: Matrix, size: tuple[int, int]) -> Boxes:
    """The boxes around the moved corners of ``boxes`` (n, 4), clipped to ``size`` (height, width).

    A box that perspective takes behind the viewer becomes empty.
    """
    is_affine = matrix[2, 0] == matrix[2, 1] == 0
    moved = _move_affine(boxes, matrix) if is_affine else _move_perspective(boxes, matrix)
    height, width = size
    clipped: Boxes = moved.clip(0, (width, height, width, height)).astype(np.float32)
    return clipped


def _move_affine(boxes: Boxes, matrix: Matrix) -> npt.NDArray[np.float64]:
    """Centres move as points do, half sides add up: a third of the time of moving corners."""
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    centre = (low + high) @ (matrix[:2, :2].T / 2) + matrix[:2, 2]
    half = (high - low) @ (np.abs(matrix[:2, :2]).T / 2)
    return np.concatenate([centre - half, centre + half], axis=1)


def _move_perspective(boxes: Boxes, matrix: Matrix) -> npt.NDArray[np.float64]:
    corners = np.ones((len(boxes), 4, 3))
    corners[:, :, 0] = boxes[:, [0, 2, 2, 0]]
    corners[:, :, 1] = boxes[:, [1, 1, 3, 3]]
    moved = corners @ matrix.T
    depth = moved[:, :, 2:]
    points = moved[:, :, :2] / np.where(depth > 0, depth, np.inf)
    around = np.concatenate([points.min(1), points.max(1)], axis=1)
    around[(depth <= 0).any((1, 2))] = 0
    return around


def keep_boxes(
    before: Boxes, after: Boxes, gain: float, area_share: float | npt.NDArray[np.float32] = 0.1
) -> npt.NDArray[np.bool_]:
    """Which boxes are still worth learning, by YOLOv5's rule.

    Kept are those wider and higher than 2 pixels, of more than a share of the area they had (times ``gain`` squared)
    and with sides in a ratio below 100.

    Args:
        before: (n, 4) xyxy.
        after: (n, 4) xyxy.
        gain: Scale factor from ``before`` to ``after``.
        area_share: Least share of the area, one number or (n,); YOLOv5 has 0.1 for boxes and 0.01 for outlines.
    """
    width_before, height_before = (before[:, 2:] - before[:, :2]).T * gain
    width, height = (after[:, 2:] - after[:, :2]).T
    share = width * height / (width_before * height_before + 1e-16)
    aspect = np.maximum(width / (height + 1e-16), height / (width + 1e-16))
    keep: npt.NDArray[np.bool_] = (width > 2) & (height > 2) & (share > area_share) & (aspect < 100)
    return keep


def new_canvas(size: tuple[int, int]) -> Image:
    """A grey picture of ``size`` (height, width)."""
    return np.full((*size, 3), PADDING_VALUE, np.uint8)


def draw(
    image: Image,
    matrix: Matrix,
    visible: tuple[float, float, float, float],
    out: Image,
    mask: npt.NDArray[np.uint8] | None = None,
) -> None:
    """Draws the visible part of ``image`` into ``out``; touches no other pixel of it.

    Args:
        image: (h, w, 3).
        matrix: (3, 3), from pixels of ``image`` to pixels of ``out``.
        visible: The part to draw, xyxy in pixels of ``image``, inside it.
        out: (H, W, 3), written to.
        mask: (h, w), share 0…255 of each pixel of ``image`` that is to be drawn; what moves onto less than half of a
            pixel of ``out`` is left out. None draws all of it.
    """
    x1, y1, x2, y2 = visible
    if x1 >= x2 or y1 >= y2:
        return
    is_upright = matrix[0, 1] == matrix[1, 0] == matrix[2, 0] == matrix[2, 1] == 0
    if mask is None and is_upright and matrix[0, 0] > 0 and matrix[1, 1] > 0:
        _draw_upright(image, matrix, visible, out)
    else:
        _draw_warped(image, matrix, visible, out, mask)


class _Span(NamedTuple):
    """Along one axis: ``resized`` pixels of ``out`` come from ``source`` pixels of the image, ``drawn`` are shown."""

    source: slice
    resized: int
    crop: slice
    drawn: slice


def _span(scale: float, shift: float, low: float, high: float, num_source: int, num_out: int) -> _Span | None:
    """Whole pixels for one axis; their edges are off by at most half a pixel of the output."""
    start, stop = max(0, round(scale * low + shift)), min(num_out, round(scale * high + shift))
    if start >= stop:
        return None
    first, last = max(0, floor((start - shift) / scale)), min(num_source, ceil((stop - shift) / scale))
    begin, end = round(scale * first + shift), round(scale * last + shift)
    return _Span(slice(first, last), end - begin, slice(start - begin, stop - begin), slice(start, stop))


def _draw_upright(image: Image, matrix: Matrix, visible: tuple[float, float, float, float], out: Image) -> None:
    """Draws without rotation by resizing, which takes a quarter of the time of an affine warp."""
    (height, width), (out_height, out_width) = image.shape[:2], out.shape[:2]
    across = _span(float(matrix[0, 0]), float(matrix[0, 2]), visible[0], visible[2], width, out_width)
    down = _span(float(matrix[1, 1]), float(matrix[1, 2]), visible[1], visible[3], height, out_height)
    if across is None or down is None:
        return
    resized = cv2.resize(image[down.source, across.source], (across.resized, down.resized))
    out[down.drawn, across.drawn] = resized[down.crop, across.crop]


def _draw_warped(
    image: Image,
    matrix: Matrix,
    visible: tuple[float, float, float, float],
    out: Image,
    mask: npt.NDArray[np.uint8] | None,
) -> None:
    """Draws through any matrix; a second warp, of a mask, says which pixels the image covers."""
    left, top, right, bottom = (round(edge) for edge in visible)
    if left >= right or top >= bottom:
        return
    part = image[top:bottom, left:right]
    x1, y1, x2, y2 = _extent(matrix, (left, top, right, bottom), (out.shape[0], out.shape[1]))
    if x1 >= x2 or y1 >= y2:
        return
    # OpenCV counts from pixel centres, hence the halves.
    to_image = np.array([[1, 0, left + 0.5], [0, 1, top + 0.5], [0, 0, 1]])
    from_out = np.array([[1, 0, -x1 - 0.5], [0, 1, -y1 - 0.5], [0, 0, 1]])
    centred, size_wh, region = from_out @ matrix @ to_image, (x2 - x1, y2 - y1), out[y1:y2, x1:x2]
    warped = cv2.warpPerspective(part, centred, size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    covered = cv2.warpPerspective(np.full(part.shape[:2], 255, np.uint8), centred, size_wh, flags=cv2.INTER_NEAREST)
    if mask is not None:
        wanted = cv2.warpPerspective(mask[top:bottom, left:right], centred, size_wh, flags=cv2.INTER_LINEAR)
        covered[wanted < 128] = 0
    cv2.copyTo(warped, covered, region)


def _extent(matrix: Matrix, rectangle: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Whole pixels of the output, xyxy, that a rectangle of the image may reach."""
    left, top, right, bottom = rectangle
    corners = np.array([[left, right, right, left], [top, top, bottom, bottom], [1, 1, 1, 1]], np.float64)
    x, y, depth = matrix @ corners
    if depth.min() <= 0:  # partly behind the viewer: it may be anywhere
        return 0, 0, size[1], size[0]
    x, y = x / depth, y / depth
    return (
        max(0, floor(x.min())),
        max(0, floor(y.min())),
        min(size[1], ceil(x.max())),
        min(size[0], ceil(y.max())),
    )
