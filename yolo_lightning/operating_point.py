"""A confidence threshold for each class, chosen on validation, and the file beside the weights that keeps them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, Self

from yolo_lightning.errors import InputError
from yolo_lightning.paths import replacing
from yolo_lightning.typed_json import from_json

__all__ = [
    "ClassThreshold",
    "Evaluation",
    "Measurement",
    "OperatingPoint",
    "Suppression",
    "Target",
    "WeightsFile",
    "operating_point_path",
]

Interval = tuple[float, float]

_FORMAT = "yolo-lightning operating point"
_VERSION = 1
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Target:
    """What the thresholds are chosen for.

    Args:
        metric: ``precision`` or ``recall`` to reach, or ``f_beta`` to make as high as it goes.
        value: The wanted precision or recall, above 0 up to 1; beta, above 0, how many times as much recall counts as
            precision.
        conservative: Not the measured precision or recall but the lower end of its interval must reach the value.

    Raises:
        ValueError: If the value is out of range, or ``conservative`` is given for ``f_beta``.
    """

    metric: Literal["precision", "recall", "f_beta"]
    value: float
    conservative: bool = False

    def __post_init__(self) -> None:
        if self.metric == "f_beta":
            if not 0 < self.value < math.inf:
                raise ValueError(f"f_beta is {self.value}; it must be above 0")
            if self.conservative:
                raise ValueError("conservative is for a wanted precision or recall; f_beta has nothing to reach")
        elif not 0 < self.value <= 1:
            raise ValueError(f"{self.metric} is {self.value}; it must be above 0 and at most 1")

    def __str__(self) -> str:
        if self.metric == "f_beta":
            return f"highest F{self.value:g}"
        return f"{self.metric} of at least {self.value:g}" + (" (lower end of the interval)" * self.conservative)


@dataclass(frozen=True)
class Measurement:
    """What a threshold did on the images on which it was chosen.

    Args:
        num_labels: Labelled objects.
        num_detections: Detections above the threshold.
        precision: Share of these detections that are right; None without any.
        precision_interval: Interval of 95 %; None without detections.
        recall: Share of the labels that are found; None without labels.
        recall_interval: Interval of 95 %; None without labels.
    """

    num_labels: int
    num_detections: int
    precision: float | None
    precision_interval: Interval | None
    recall: float | None
    recall_interval: Interval | None

    def __post_init__(self) -> None:
        _check_ranges(self, "precision", "precision_interval", "recall", "recall_interval")
        if min(self.num_labels, self.num_detections) < 0:
            raise ValueError("a count is negative")


@dataclass(frozen=True)
class ClassThreshold:
    """The threshold of a class.

    Args:
        name: Name of the class.
        threshold: Detections count above this score, 0…1.
        threshold_interval: Interval of 95 % of the threshold, were it chosen on other images of this kind; None if it
            was not chosen for this class.
        reached: Whether the class has what was wanted; False as well where it cannot be measured.
        pooled: Whether the class has too few examples for a threshold of its own and uses that of all classes together.
        measured: What the threshold did for this class.
    """

    name: str
    threshold: float
    threshold_interval: Interval | None
    reached: bool
    pooled: bool
    measured: Measurement

    def __post_init__(self) -> None:
        _check_ranges(self, "threshold", "threshold_interval")


@dataclass(frozen=True)
class Evaluation:
    """What the thresholds were chosen on.

    Args:
        data: The data set, as it was given.
        split: ``val`` or ``test``.
        num_images: Images of it.
        iou_threshold: Overlap from which on a detection is right.
        min_labels: Classes with fewer labels use the threshold of all classes.
        num_resamples: Samples of the images behind the intervals.
        seed: Seed of their drawing.
    """

    data: str | None
    split: str
    num_images: int
    iou_threshold: float
    min_labels: int
    num_resamples: int
    seed: int

    def __post_init__(self) -> None:
        _check_ranges(self, "iou_threshold")


@dataclass(frozen=True)
class Suppression:
    """Settings of the non-maximum suppression under which the thresholds hold; see :class:`yolo_lightning.ops.NMS`."""

    iou_threshold: float
    max_detections: int
    multi_label: bool
    class_agnostic: bool

    def __post_init__(self) -> None:
        _check_ranges(self, "iou_threshold")


@dataclass(frozen=True)
class WeightsFile:
    """The weights whose detections were looked at.

    Args:
        name: Name of the file, without its directory.
        sha256: Digest of its content, in hexadecimal; None if not known.
    """

    name: str
    sha256: str | None = None

    @classmethod
    def of(cls, path: Path) -> Self:
        """Describes a file.

        Raises:
            OSError: If it cannot be read.
        """
        with path.open("rb") as file:
            return cls(path.name, hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True)
class OperatingPoint:
    """Confidence thresholds of all classes, what they do, and where that was measured.

    Args:
        target: What they were chosen for.
        classes: One for each class, in the order of the labels.
        pooled: The threshold of all classes together, for classes with too few examples.
        overall: What the thresholds of the classes do for all classes together.
        evaluation: What they were chosen on.
        suppression: Settings of NMS under which they hold; None if not known.
        weights: The weights that they belong to; None if not known.
    """

    target: Target
    classes: tuple[ClassThreshold, ...]
    pooled: ClassThreshold
    overall: Measurement
    evaluation: Evaluation
    suppression: Suppression | None = None
    weights: WeightsFile | None = None

    def thresholds(self, class_names: Sequence[str]) -> tuple[float, ...]:
        """The thresholds, one for each class, as NMS takes them.

        Args:
            class_names: Names of the classes of the network.

        Raises:
            InputError: If these are not the classes that the thresholds were chosen for, in the same order.
        """
        own = [chosen.name for chosen in self.classes]
        if len(own) != len(class_names):
            raise InputError(
                f"the operating point has {len(own)} classes but the network {len(class_names)}: "
                "choose one for these weights with `yolo-lightning validate --operating_point.precision 0.9`"
            )
        for index, (name, other) in enumerate(zip(own, class_names, strict=True)):
            if name != other:
                raise InputError(f"class {index} of the operating point is {name!r}, but {other!r} in the network")
        return tuple(chosen.threshold for chosen in self.classes)

    def doubt(self, weights: Path) -> str | None:
        """What speaks against use with a file of weights: it has the name of the one measured, but other content.

        A file of another name, such as the ``.safetensors`` beside a ``.ckpt``, cannot be compared.

        Raises:
            OSError: If the file cannot be read.
        """
        own = self.weights
        if own is None or own.sha256 is None or own.name != weights.name or WeightsFile.of(weights) == own:
            return None
        return f"{weights} has changed since its operating point was chosen: run validate with operating_point again"

    def save(self, path: str | Path) -> None:
        """Writes the operating point as JSON; one that is there already is replaced in one step.

        Raises:
            InputError: If there is another file of this name, which stays as it is.
            OSError: If the file cannot be written.
        """
        path = Path(path)
        if path.exists():
            _read(path)
        content = {"format": _FORMAT, "version": _VERSION, **asdict(self)}
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        with replacing(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads what :meth:`save` wrote.

        Raises:
            InputError: If there is no such file, or it is not a whole and sound operating point.
        """
        path = Path(path)
        content = _read(path)
        if content.pop("version", None) != _VERSION:
            raise InputError(f"{path} is an operating point of another version; this release reads version {_VERSION}")
        del content["format"]
        try:
            operating_point: Self = from_json(cls, content)
        except ValueError as error:
            raise InputError(f"{path} is no sound operating point: {error}") from error
        return operating_point


def operating_point_path(weights: str | Path) -> Path:
    """Where the operating point of a file of weights is kept: ``best.operating_point.json`` beside ``best.ckpt``."""
    return Path(weights).with_suffix(".operating_point.json")


def _read(path: Path) -> dict[str, Any]:
    """The content of a file of this format, whatever its version."""
    try:
        if path.stat().st_size > _MOST_BYTES or not path.is_file():
            raise InputError(f"{path} is no operating point: it is too large, or not a plain file")
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise InputError(
            f"{path} does not exist: choose an operating point with "
            "`yolo-lightning validate --ckpt_path … --operating_point.precision 0.9`"
        ) from error
    except OSError as error:
        raise InputError(f"the operating point {path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, InputError) else InputError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InputError(f"{path} is no operating point")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _check_ranges(item: object, *names: str) -> None:
    for name in names:
        value = getattr(item, name)
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        if not all(0 <= number <= 1 for number in numbers):
            raise ValueError(f"{name} is {value}; it must be between 0 and 1")
        if list(numbers) != sorted(numbers):
            raise ValueError(f"{name} is {value}; its ends are in the wrong order")
