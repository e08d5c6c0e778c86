"""Boxes around what can be seen of outlines (polygons) that are moved through a matrix, exact at the borders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["outline_boxes"]

Matrix = npt.NDArray[np.float64]
Points = npt.NDArray[np.float64]
Boxes = npt.NDArray[np.float32]
Size = tuple[int, int]

_ON_BORDER = 1e-9  # pixels; so that an edge along a border is not lost to rounding
_SMALLEST_DEPTH = 1e-6  # perspective divides by the depth; what is nearer than this counts as behind the viewer


def outline_boxes(outlines: Sequence[npt.NDArray[np.floating]], matrix: Matrix, canvas: Size, size: Size) -> Boxes:
    """Boxes around the parts of outlines that lie on a canvas and are seen through a matrix.

    YOLOv5 moves a thousand points of each outline and takes the extent of those inside. Here the edges themselves are
    cut, so that a box is exact, also where an object covers a corner of the picture or all of it.

    Args:
        outlines: (k, 2) points xy on the canvas, one array for each object; the last point is joined to the first.
        matrix: (3, 3) from the canvas to the picture.
        canvas: Size (height, width) of the canvas.
        size: Size (height, width) of the picture.

    Returns:
        (n, 4) xyxy pixels of the picture; a box of zeros where nothing is seen.
    """
    counts = np.array([len(points) for points in outlines], np.int64)
    boxes = np.zeros((len(counts), 4), np.float32)
    filled = np.flatnonzero(counts)
    if not len(filled):
        return boxes
    points = np.concatenate([points for points in outlines if len(points)]).astype(np.float64)
    starts = np.cumsum(counts[filled]) - counts[filled]
    following = np.roll(points, -1, axis=0)
    following[starts + counts[filled] - 1] = points[starts]
    low, high = _extents(_visible_ends(points, following, matrix, canvas, size), starts)
    corners = _region_corners(matrix, canvas, size)
    if len(corners):
        inside = _contains(points, following, starts, corners)[..., None]
        moved = _project(corners, matrix)
        low = np.minimum(low, np.where(inside, moved, np.inf).min(1))
        high = np.maximum(high, np.where(inside, moved, -np.inf).max(1))
    seen = (low <= high).all(1)
    boxes[filled[seen]] = np.concatenate([low, high], axis=1)[seen].clip(0, (size[1], size[0], size[1], size[0]))
    return boxes


def _project(points: Points, matrix: Matrix) -> Points:
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    projected: Points = moved[..., :2] / moved[..., 2:]
    return projected


def _margins(points: Points, matrix: Matrix, canvas: Size, size: Size) -> Points:
    """(9, n) linear functions of the points, none of which is negative where a point is on the canvas and is seen."""
    x, y = points.T
    moved_x, moved_y, depth = matrix[:, :2] @ points.T + matrix[:, 2:]
    picture = (moved_x, size[1] * depth - moved_x, moved_y, size[0] * depth - moved_y, depth - _SMALLEST_DEPTH)
    margins: Points = np.stack([x, canvas[1] - x, y, canvas[0] - y, *picture])
    margins[np.abs(margins) < _ON_BORDER] = 0
    return margins


def _visible_ends(begin: Points, end: Points, matrix: Matrix, canvas: Size, size: Size) -> Points:
    """(n, 2, 2) moved ends of the visible part of each edge, NaN for an edge that is not seen (Liang and Barsky)."""
    first, last = (_margins(points, matrix, canvas, size) for points in (begin, end))
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = first / (first - last)
    enter = np.where(first < last, crossing, 0).max(0, initial=0)
    leave = np.where(first > last, crossing, 1).min(0, initial=1)
    hidden = ((first < 0) & (last < 0)).any(0) | (enter > leave)
    shares = np.stack([enter, leave], axis=1)[..., None]
    ends = begin[:, None] + shares * (end - begin)[:, None]
    ends[hidden] = np.nan
    return _project(ends, matrix)


def _extents(ends: Points, starts: npt.NDArray[np.int64]) -> tuple[Points, Points]:
    """Lowest and highest coordinates (n, 2) of the edges of each object, ±inf where none is seen."""
    unseen = np.isnan(ends)
    low = np.where(unseen, np.inf, ends).min(1)
    high = np.where(unseen, -np.inf, ends).max(1)
    return np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)


def _region_corners(matrix: Matrix, canvas: Size, size: Size) -> Points:
    """(m, 2) corners, on the canvas, of the part of it that is seen, which is convex."""
    border = _rectangle(canvas)
    ends = _visible_ends(border, np.roll(border, -1, axis=0), matrix, canvas, size).reshape(-1, 2)
    back = np.linalg.inv(matrix).astype(np.float64)
    seen = np.isfinite(ends[:, 0])
    on_border = _project(ends[seen], back)
    with np.errstate(divide="ignore", invalid="ignore"):  # a corner of the picture may show the horizon
        picture = _project(_rectangle(size), back)
    on_canvas = (picture >= 0).all(1) & (picture <= (canvas[1], canvas[0])).all(1)
    picture = picture[on_canvas]
    in_front = picture @ matrix[2, :2] + matrix[2, 2] > _SMALLEST_DEPTH
    return np.concatenate([on_border, picture[in_front]])


def _rectangle(size: Size) -> Points:
    height, width = size
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)


def _contains(begin: Points, end: Points, starts: npt.NDArray[np.int64], points: Points) -> npt.NDArray[np.bool_]:
    """(n, m): whether each outline, given by its edges, has each point inside (even-odd rule)."""
    x, y = points.T
    spans = (begin[:, 1:] > y) != (end[:, 1:] > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = begin[:, :1] + (y - begin[:, 1:]) * ((end - begin)[:, :1] / (end - begin)[:, 1:])
    inside: npt.NDArray[np.bool_] = np.add.reduceat(spans & (x < crossing), starts, axis=0, dtype=np.int64) % 2 == 1
    return inside
