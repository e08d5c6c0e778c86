"""How right networks are against how long they take, over image sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from yolo_lightning.plots.tradeoff import TradeoffPoint, draw_tradeoff

__all__ = ["StudyPoint", "draw_study"]


@dataclass(frozen=True)
class StudyPoint:
    """A network at an image size.

    Args:
        image_size: Side in pixels.
        milliseconds: For an image.
        map: YOLOv5's mAP50-95, 0…1.
    """

    image_size: int
    milliseconds: float
    map: float


def draw_study(networks: Mapping[str, Sequence[StudyPoint]], about: str = "") -> Figure:
    """A line for each network, its points named by the image size.

    Args:
        networks: The points of each network by its name, by ascending image size.
        about: On what it was measured, below the title.
    """
    return draw_tradeoff(
        {
            name: [TradeoffPoint(str(point.image_size), point.milliseconds, point.map) for point in points]
            for name, points in networks.items()
        },
        title="mAP over time per image",
        about=about,
        time="milliseconds per image (preprocess, inference and postprocess)",
        legend_title="at image sizes",
    )
