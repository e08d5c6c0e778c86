"""Images of a data set placed on a canvas as tiles, and the picture that a matrix shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from yolo_lightning.data.base import DetectionDataset
from yolo_lightning.data.outlines import outline_boxes
from yolo_lightning.data.warp import RandomMatrix, draw, keep_boxes, new_canvas, transform_boxes

__all__ = ["Objects", "Picture", "Tile", "locate", "render"]

Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Points = npt.NDArray[np.floating]
Size = tuple[int, int]
Rectangle = tuple[float, float, float, float]

_AREA_SHARE = 0.1
_AREA_SHARE_OUTLINED = 0.01  # an outline says what is left of an object, a turned box overrates it
_FINER = 4


@dataclass(frozen=True)
class Tile:
    """An image of the data set with its place on a canvas.

    Args:
        index: Position in the data set.
        size: Size (height, width) it has there, in pixels of the canvas.
        left: Its left edge there; may be negative.
        top: Its top edge there; may be negative.
    """

    index: int
    size: Size
    left: int
    top: int

    def visible(self, canvas: Size) -> Rectangle:
        """The part of it that lies on the canvas, xyxy in pixels of the canvas from its own corner."""
        return (
            max(0, -self.left),
            max(0, -self.top),
            min(self.size[1], canvas[1] - self.left),
            min(self.size[0], canvas[0] - self.top),
        )


@dataclass
class Objects:
    """The objects on a canvas.

    Args:
        boxes: (n, 4) float32 xyxy pixels of the canvas, clipped to it.
        labels: (n,) class indices.
        outlines: n arrays (k, 2) of points on the canvas, not clipped; empty for an object that has only a box.
        tiles: (n,) position of the tile that shows each object.
        mirrored: (n,) whether it is a copy, pasted left for right at the other side of the canvas.
    """

    boxes: Boxes
    labels: Labels
    outlines: list[Points]
    tiles: npt.NDArray[np.int64]
    mirrored: npt.NDArray[np.bool_]


@dataclass
class Picture:
    """A picture in the making."""

    image: Image
    boxes: Boxes
    labels: Labels


def locate(dataset: DetectionDataset, tiles: Sequence[Tile], canvas: Size) -> Objects:
    """The objects of the tiles as they lie on the canvas.

    Raises:
        ValueError: If an image of the data set has not one outline, which may be empty, for each box.
    """
    boxes, labels = [], []
    outlines: list[Points] = []
    for tile in tiles:
        height, width = dataset.image_size(tile.index)
        scale, shift = (tile.size[1] / width, tile.size[0] / height), (tile.left, tile.top)
        tile_boxes, tile_labels = dataset.annotations(tile.index)
        tile_outlines = dataset.outlines(tile.index)
        if len(tile_outlines) != len(tile_labels):
            found = f"{len(tile_outlines)} outlines for {len(tile_labels)} boxes"
            raise ValueError(f"{dataset.path(tile.index)}: {found}; give each box one, empty if there is none")
        boxes.append(tile_boxes * (scale * 2) + (shift * 2))
        labels.append(tile_labels)
        outlines += [points * scale + shift if len(points) else points for points in tile_outlines]
    height, width = canvas
    clipped = np.clip(np.concatenate(boxes), 0, (width, height, width, height)).astype(np.float32)
    owners = np.repeat(np.arange(len(tiles)), [len(rows) for rows in labels])
    return Objects(clipped, np.concatenate(labels), outlines, owners, np.zeros(len(owners), np.bool_))


def render(
    dataset: DetectionDataset, tiles: Sequence[Tile], objects: Objects, canvas: Size, size: Size, warp: RandomMatrix
) -> Picture:
    """What ``warp`` shows of a canvas: a picture of ``size`` with the objects that are still worth learning.

    The box of an object with an outline is drawn around what is seen of the outline; other boxes are moved by their
    corners.
    """
    boxes = transform_boxes(objects.boxes, warp.matrix, size)
    seen = (boxes[:, :2] < boxes[:, 2:]).all(1)
    outlined = np.array([len(points) > 0 for points in objects.outlines], np.bool_)
    known = np.flatnonzero(outlined & seen)
    if len(known):
        boxes[known] = outline_boxes([objects.outlines[number] for number in known], warp.matrix, canvas, size)
    shares = np.where(outlined, _AREA_SHARE_OUTLINED, _AREA_SHARE).astype(np.float32)
    keep = keep_boxes(objects.boxes, boxes, warp.gain, shares)
    image = new_canvas(size)
    sources = []
    for tile in tiles:
        sources.append(_read(dataset, tile))
        _draw_tile(sources[-1], tile, canvas, warp, image)
    for number in np.flatnonzero(objects.mirrored & seen).tolist():
        owner = objects.tiles[number]
        _draw_mirrored(sources[owner], tiles[owner], objects.outlines[number], canvas, warp, image)
    return Picture(image, boxes[keep], objects.labels[keep])


def _draw_tile(image: Image, tile: Tile, canvas: Size, warp: RandomMatrix, out: Image) -> None:
    """Draws the part of a tile that lies on the canvas."""
    scale_x, scale_y = _scale(image, tile)
    x1, y1, x2, y2 = tile.visible(canvas)
    visible = (x1 / scale_x, y1 / scale_y, x2 / scale_x, y2 / scale_y)
    draw(image, warp.matrix @ _place(image, tile), visible, out)


def _draw_mirrored(image: Image, tile: Tile, outline: Points, canvas: Size, warp: RandomMatrix, out: Image) -> None:
    """Draws the pixels of an object, and no others, at the other side of the canvas, where its outline already is."""
    scale_x, scale_y = _scale(image, tile)
    x1, y1, x2, y2 = tile.visible(canvas)
    points = (outline * (-1, 1) + (canvas[1] - tile.left, -tile.top)) / (scale_x, scale_y)
    low, high = np.floor(points.min(0)), np.ceil(points.max(0))
    left, top = max(round(x1 / scale_x), int(low[0])), max(round(y1 / scale_y), int(low[1]))
    right, bottom = min(round(x2 / scale_x), int(high[0])), min(round(y2 / scale_y), int(high[1]))
    if left >= right or top >= bottom:
        return
    part, mask = image[top:bottom, left:right], _fill(points - (left, top), (bottom - top, right - left))
    shift = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]])
    mirror = np.array([[-1, 0, canvas[1]], [0, 1, 0], [0, 0, 1]])
    matrix = warp.matrix @ mirror @ _place(image, tile) @ shift
    draw(part, matrix, (0, 0, right - left, bottom - top), out, mask)


def _fill(outline: Points, size: Size) -> Image:
    """(h, w) share of each pixel that lies inside an outline, 0…255."""
    # OpenCV paints half a pixel beyond an outline: of finer pixels, that is little.
    fine = np.zeros((_FINER * size[0], _FINER * size[1]), np.uint8)
    corners = np.round((outline * _FINER - 0.5) * 16).astype(np.int32)  # from pixel centres, in 1/16 pixel
    cv2.fillPoly(fine, [corners], 255, shift=4)
    return cv2.resize(fine, (size[1], size[0]), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _scale(image: Image, tile: Tile) -> tuple[float, float]:
    """Pixels of the canvas per pixel of the image, across and down."""
    return tile.size[1] / image.shape[1], tile.size[0] / image.shape[0]


def _place(image: Image, tile: Tile) -> npt.NDArray[np.float64]:
    """(3, 3) from pixels of the image to pixels of the canvas."""
    scale_x, scale_y = _scale(image, tile)
    return np.array([[scale_x, 0, tile.left], [0, scale_y, tile.top], [0, 0, 1]])


def _read(dataset: DetectionDataset, tile: Tile) -> Image:
    """An image of the tile's size or up to twice as large: more would alias, as it is resampled bilinearly."""
    image = dataset.read_image(tile.index, max(tile.size))
    factor = min(image.shape[0] // tile.size[0], image.shape[1] // tile.size[1])
    if factor < 2:
        return image
    size_wh = (image.shape[1] // factor, image.shape[0] // factor)
    return cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
