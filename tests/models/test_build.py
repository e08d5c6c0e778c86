from __future__ import annotations

import sys
import types
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.test_detector import TinyBackbone
from yolo_lightning.errors import InputError
from yolo_lightning.models import (
    Backbone,
    CSPDarknet,
    Detector,
    YOLOv5Head,
    build_detector,
    check_description,
    describe,
    yolov5,
)
from yolo_lightning.types import FeatureInfo

HERE = "tests.models.test_build"


class ScaledHead(YOLOv5Head):
    """Takes more arguments than the library's, some of them by any name."""

    def __init__(self, info: FeatureInfo, classes: int, *, gain: float = 2.0, **options: Any) -> None:
        super().__init__(info, classes, **options)
        self.gain = gain


class TinyDetector(Detector):
    """Chooses its own parts."""

    def __init__(self, num_classes: int, width: int = 4) -> None:
        head = partial(YOLOv5Head, anchors=[[10, 10], [40, 40]])
        super().__init__(num_classes, backbone=partial(TinyBackbone, width), head=head)


@pytest.mark.parametrize(
    "detector",
    [
        yolov5("n", 3),
        yolov5("n6", 1, in_channels=1),
        Detector(2, backbone=lambda: CSPDarknet(0.67, width_multiple=0.25), head=partial(ScaledHead, gain=1.5)),
        Detector(2, partial(TinyBackbone, scale=0.5), head=partial(ScaledHead, anchors=((10, 10), (40, 40)))),
        TinyDetector(4, width=2),
    ],
    ids=["n", "n6", "lambda", "own parts", "own detector"],
)
def test_round_trip_through_a_checkpoint(detector: Detector, tmp_path: Path) -> None:
    torch.save({"detector": describe(detector)}, tmp_path / "description.pt")
    description = torch.load(tmp_path / "description.pt", weights_only=True)["detector"]
    check_description(description)
    other = build_detector(description, detector.num_classes)
    assert type(other) is type(detector)
    assert {k: v.shape for k, v in other.state_dict().items()} == {k: v.shape for k, v in detector.state_dict().items()}
    assert describe(other) == describe(detector)
    other.load_state_dict(detector.state_dict())


def test_description_is_what_the_command_line_takes() -> None:
    description = describe(yolov5("n", 3))
    assert description == {
        "class_path": "yolo_lightning.models.Detector",
        "init_args": {
            "backbone": {
                "class_path": "yolo_lightning.models.CSPDarknet",
                "init_args": {"depth_multiple": 0.33, "width_multiple": 0.25, "in_channels": 3, "levels": "P5"},
            },
            "neck": {"class_path": "yolo_lightning.models.PAFPN", "init_args": {"depth_multiple": 0.33}},
            "head": {"class_path": "yolo_lightning.models.YOLOv5Head", "init_args": {"anchors": None}},
        },
    }


def test_own_arguments_survive() -> None:
    detector = Detector(2, head=partial(ScaledHead, gain=1.5))
    other = build_detector(describe(detector), 2)
    assert isinstance(other.head, ScaledHead)
    assert other.head.gain == 1.5


@pytest.mark.parametrize(
    "value",
    [object(), torch.zeros(1), {1: 2}, b"bytes", [len]],
    ids=["object", "tensor", "int key", "bytes", "function"],
)
def test_arguments_that_are_not_plain_are_refused(value: object) -> None:
    head = ScaledHead(FeatureInfo((8, 8), (8, 16)), 1, gain=value, anchors=[[1, 1], [2, 2]])  # type: ignore[arg-type]
    detector = TinyDetector(1)
    detector.head = head
    with pytest.raises(InputError, match=r"ScaledHead\(gain="):
        describe(detector)


def test_a_local_class_is_refused() -> None:
    class Local(TinyBackbone):
        pass

    detector = Detector(1, Local, head=partial(YOLOv5Head, anchors=[[1, 1], [2, 2]]))
    with pytest.raises(InputError, match="top of a module"):
        describe(detector)


def test_a_module_that_is_not_imported_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "not_imported_lab.py").write_text("raise SystemExit('this must not run')")
    monkeypatch.syspath_prepend(tmp_path)
    description = _with_backbone("not_imported_lab.MyBackbone")
    with pytest.raises(InputError, match="`import not_imported_lab`"):
        check_description(description)
    with pytest.raises(InputError, match="`import not_imported_lab`"):
        build_detector(description, 1)
    assert "not_imported_lab" not in sys.modules


def test_an_imported_module_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = types.ModuleType("imported_lab")
    lab.MyBackbone = type("MyBackbone", (CSPDarknet,), {"__module__": "imported_lab"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "imported_lab", lab)
    assert type(build_detector(_with_backbone("imported_lab.MyBackbone"), 1).backbone).__name__ == "MyBackbone"


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "torch.nn.Linear",
        "yolo_lightning.models.YOLOv5Head",
        "yolo_lightning.models.missing",
        "yolo_lightning.missing.Backbone",
        "CSPDarknet",
        "",
        ".",
        f"{HERE}.HERE",
        f"{HERE}.ScaledHead.__init__",
    ],
)
def test_what_is_no_backbone_is_refused(path: str) -> None:
    with pytest.raises(InputError):
        build_detector(_with_backbone(path), 1)


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"class_path": None},
        {"class_path": "yolo_lightning.models.Detector", "init_args": [1]},
        {"class_path": "yolo_lightning.models.Detector", "init_args": {"backbone": "CSPDarknet"}},
        {"class_path": "yolo_lightning.models.Detector", "init_args": {"unknown": 1}},
        {"class_path": "yolo_lightning.models.Detector", "init_args": {1: 1}},
    ],
)
def test_malformed_descriptions_are_refused(description: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        build_detector(description, 1)


def test_an_abstract_class_is_refused() -> None:
    assert issubclass(CSPDarknet, Backbone)
    with pytest.raises(InputError, match="cannot be made"):
        build_detector(_with_backbone("yolo_lightning.models.Backbone"), 1)


def _with_backbone(path: str) -> dict[str, Any]:
    return {"class_path": "yolo_lightning.models.Detector", "init_args": {"backbone": {"class_path": path}}}
