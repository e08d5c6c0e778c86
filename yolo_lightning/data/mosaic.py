"""Where the tiles of a mosaic lie: four around a point, or nine of which a window is shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from yolo_lightning.data.base import DetectionDataset
from yolo_lightning.data.tiles import Tile
from yolo_lightning.data.transforms import fitted_size

__all__ = ["draw_others", "four_tiles", "nine_tiles", "single_tile"]

Size = tuple[int, int]


def single_tile(dataset: DetectionDataset, index: int, size: Size) -> Tile:
    """An image in the middle of a canvas of ``size`` (height, width), scaled to fit it."""
    height, width = fitted_size(dataset.image_size(index), size)
    return Tile(index, (height, width), (size[1] - width) // 2, (size[0] - height) // 2)


def draw_others(
    dataset: DetectionDataset, count: int, generator: np.random.Generator, pool: Sequence[int] = ()
) -> list[int]:
    """Further images of a sample, drawn with replacement from the pool, or from all if it is empty."""
    drawn: list[int] = generator.integers(len(pool) or len(dataset), size=count).tolist()
    return [pool[position] for position in drawn] if pool else drawn


def four_tiles(
    dataset: DetectionDataset, index: int, size: Size, generator: np.random.Generator, pool: Sequence[int] = ()
) -> list[Tile]:
    """Four images, each scaled to fit ``size``, that meet in a random point of a canvas of twice the size.

    Draws the point's y and x, three further images, and their order, as YOLOv5's mosaic does.
    """
    centre_y, centre_x = (int(generator.uniform(0.5 * side, 1.5 * side)) for side in size)
    indices = [index, *draw_others(dataset, 3, generator, pool)]
    tiles = []
    for corner, position in enumerate(generator.permutation(4).tolist()):
        height, width = fitted_size(dataset.image_size(indices[position]), size)
        left = centre_x if corner % 2 else centre_x - width
        top = centre_y if corner >= 2 else centre_y - height
        tiles.append(Tile(indices[position], (height, width), left, top))
    return tiles


def nine_tiles(
    dataset: DetectionDataset, index: int, size: Size, generator: np.random.Generator, pool: Sequence[int] = ()
) -> list[Tile]:
    """Nine images, each scaled to fit ``size``, of which a random window of twice the size is the canvas.

    The first image lies in the middle of three times the size; the others go around it clockwise from the top, each
    against the one before, as in YOLOv5's mosaic of nine. There the first one begins at a third of each side, which is
    the middle for images that fill the size, but leaves a wide canvas of narrow images half empty.

    Draws the window's y and x, eight further images, and their order.
    """
    window_y, window_x = (int(generator.uniform(0, side)) for side in size)
    indices = [index, *draw_others(dataset, 8, generator, pool)]
    order = [indices[position] for position in generator.permutation(9).tolist()]
    sizes = [fitted_size(dataset.image_size(number), size) for number in order]
    left = size[1] + (size[1] - sizes[0][1]) // 2 - window_x
    top = size[0] + (size[0] - sizes[0][0]) // 2 - window_y
    return [
        Tile(number, tile, left + x, top + y) for number, tile, (x, y) in zip(order, sizes, _around(sizes), strict=True)
    ]


def _around(sizes: Sequence[Size]) -> list[tuple[int, int]]:
    """Left and top edge of nine tiles, from the corner of the first one."""
    (h0, w0), (h1, w1), (h2, _), (h3, _), _, (_, w5), (_, w6), (h7, w7), (h8, w8) = sizes
    return [
        (0, 0),
        (0, -h1),  # top
        (w1, -h2),  # top right
        (w0, 0),  # right
        (w0, h3),  # bottom right
        (w0 - w5, h0),  # bottom
        (w0 - w5 - w6, h0),  # bottom left
        (-w7, h0 - h7),  # left
        (-w8, h0 - h7 - h8),  # top left
    ]
