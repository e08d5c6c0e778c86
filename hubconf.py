"""Entry points for ``torch.hub``: ``torch.hub.load(<this repository>, "yolov5s")("bus.jpg").show()``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolo_lightning.inference import Predictor
    from yolo_lightning.models import Detector

dependencies = ["cv2", "jsonargparse", "numpy", "PIL", "rich", "safetensors", "torch", "torchvision", "yaml"]


def custom(
    path: str | Path | Sequence[str], autoshape: bool = True, device: str | None = None, **settings: Any
) -> Predictor | Detector:
    """Weights of your own.

    Args:
        path: A published YOLOv5 ``.pt``, a checkpoint of this library, or safetensors; several are an ensemble.
        autoshape: Returns a predictor that takes images of any kind; otherwise the plain network.
        device: Where to compute; the GPU if there is one by default.
        **settings: As of ``yolo_lightning.load``.
    """
    from yolo_lightning.inference import load

    predictor = load(path, device=device, **settings)
    return predictor if autoshape else predictor.model


def _published(name: str) -> Callable[..., Predictor | Detector]:
    def entry(
        pretrained: bool = True,
        channels: int = 3,
        classes: int | Sequence[str] = 80,
        autoshape: bool = True,
        device: str | None = None,
        **settings: Any,
    ) -> Predictor | Detector:
        weights = f"{name}.pt"
        given = {"pretrained": pretrained, "channels": channels, "classes": classes, **settings}
        return custom(weights, autoshape, device, **given)

    entry.__name__ = entry.__qualname__ = name
    entry.__doc__ = f"""The published {name}, downloaded on first use.

    Args:
        pretrained: Whether to load the published weights; otherwise the network starts afresh.
        channels: Channels of the images; with others than 3 the first layer starts afresh.
        classes: Number of classes, or their names; with others than the 80 of COCO the last layers start afresh.
        autoshape: Returns a predictor that takes images of any kind; otherwise the plain network.
        device: Where to compute; the GPU if there is one by default.
        **settings: As of ``yolo_lightning.load``.
    """
    return entry


yolov5n, yolov5s, yolov5m = _published("yolov5n"), _published("yolov5s"), _published("yolov5m")
yolov5l, yolov5x = _published("yolov5l"), _published("yolov5x")
yolov5n6, yolov5s6, yolov5m6 = _published("yolov5n6"), _published("yolov5s6"), _published("yolov5m6")
yolov5l6, yolov5x6 = _published("yolov5l6"), _published("yolov5x6")
