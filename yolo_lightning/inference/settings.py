"""How a predictor looks at images, and what it takes for a detection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches

from yolo_lightning.errors import InputError
from yolo_lightning.inference.preprocess import as_size
from yolo_lightning.models import Slices, TestTimeAugmentation, WeightedBoxesFusion
from yolo_lightning.ops import NMS

__all__ = ["SETTING_NAMES", "Settings", "check_names", "check_settings", "class_indices", "make_nms"]

# What people who come from YOLOv5's hub interface write.
_OLD_NAMES = {
    "conf": "confidence_threshold",
    "iou": "iou_threshold",
    "agnostic": "class_agnostic",
    "max_det": "max_detections",
    "amp": "precision",
    "imgsz": "size",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How images are turned into results; each may be an attribute of a predictor, or an argument of a call.

    Args:
        size: Height and width that images are scaled to fit, or one number for both, in pixels; with slices,
            images keep their scale.
        augment: Test-time augmentation: images are seen at several scales and flipped, as by YOLOv5's ``--augment``.
        confidence_threshold: Only detections above it count, 0…1; one number, or one for each class.
        iou_threshold: Boxes of one class that overlap by more than this are one object, 0…1.
        max_detections: Most detections of an image.
        classes: Classes to report, by name or index; all if None.
        class_agnostic: Boxes suppress each other whatever their classes.
        multi_label: A box may be reported once for each class above the threshold, not for its best alone.
        slices: Cuts large images into overlapping tiles instead of shrinking them.
        fusion: Fuses the boxes of an ensemble, or of augmented views, instead of suppressing all but the best.
    """

    size: int | tuple[int, int] = 640
    augment: bool | TestTimeAugmentation = False
    confidence_threshold: float | Sequence[float] = 0.25
    iou_threshold: float = 0.45
    max_detections: int = 1000
    classes: Sequence[int | str] | None = None
    class_agnostic: bool = False
    multi_label: bool = False
    slices: Slices | None = None
    fusion: WeightedBoxesFusion | None = None


SETTING_NAMES = tuple(field.name for field in fields(Settings))
"""Names of all settings."""


def check_names(names: Iterable[str], kind: type[Exception] = TypeError) -> None:
    """Makes sure that there are such settings.

    Raises:
        TypeError: Or what ``kind`` says, if there is none of a name; the message names the one that may be meant.
    """
    for name in names:
        if name not in SETTING_NAMES:
            meant = _OLD_NAMES.get(name) or next(iter(get_close_matches(name, SETTING_NAMES)), None)
            advice = f"did you mean {meant}?" if meant else f"settings are {', '.join(SETTING_NAMES)}"
            raise kind(f"a predictor has no setting {name!r}; {advice}")


def check_settings(settings: Settings, class_names: Sequence[str], stride: int, num_detectors: int) -> None:
    """Makes sure that networks can be used so.

    Raises:
        InputError: If they cannot.
    """
    for name, kind in (("slices", Slices), ("fusion", WeightedBoxesFusion)):
        value = getattr(settings, name)
        if value is not None and not isinstance(value, kind):
            raise InputError(f"{name} is {value!r}: give a yolo_lightning.models.{kind.__name__}, or None")
    try:
        as_size(settings.size, stride)
        if settings.slices is not None:
            settings.slices.check(stride)
        if settings.fusion is not None:
            settings.fusion.check(num_detectors)
        make_nms(settings, class_names)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from error
    except TypeError as error:
        raise InputError(f"a setting is of a wrong type ({error}): {settings}") from error


def make_nms(settings: Settings, class_names: Sequence[str]) -> NMS:
    """The suppression that the settings ask for.

    Raises:
        ValueError: If one of them is out of range.
    """
    return NMS(
        confidence_threshold=settings.confidence_threshold,
        iou_threshold=settings.iou_threshold,
        max_detections=settings.max_detections,
        multi_label=settings.multi_label,
        class_agnostic=settings.class_agnostic,
        classes=class_indices(settings.classes, class_names),
    )


def class_indices(classes: Sequence[int | str] | None, names: Sequence[str]) -> list[int] | None:
    """Indices of classes given by name or index.

    Raises:
        InputError: If there is no such class; the message names those that are alike.
    """
    if classes is None:
        return None
    if isinstance(classes, str):
        classes = [classes]
    return [_class_index(each, names) for each in classes]


def _class_index(given: int | str, names: Sequence[str]) -> int:
    if isinstance(given, str) and given in names:
        return list(names).index(given)
    if not isinstance(given, int | str):
        raise InputError(f"there is no class {given!r}: give names or numbers")
    if isinstance(given, int) or given.lstrip("-").isdigit():
        if 0 <= int(given) < len(names):
            return int(given)
        raise InputError(f"there is no class {given}: the network has 0…{len(names) - 1}")
    alike = get_close_matches(given, names) or list(names[:10])
    raise InputError(f"there is no class {given!r}: did you mean one of {', '.join(alike)}?")
