"""The published yolov5n on real pictures: what the reference detects and measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from yolo_lightning.cli import main
from yolo_lightning.data import DetectionDataModule
from yolo_lightning.data.transforms import letterbox, letterbox_info
from yolo_lightning.metrics import DetectionMetrics
from yolo_lightning.models import Detector, Inference, load_weights, yolov5
from yolo_lightning.models import TestTimeAugmentation as Augmentation  # under its own name pytest would collect it
from yolo_lightning.ops import NMS, to_original, xyxy_to_cxcywh
from yolo_lightning.types import Detections, ImageInfo

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def detector(shared: Path) -> Detector:
    network = yolov5("n")
    report = load_weights(network, shared / "weights" / "yolov5n.pt")
    assert not report.skipped
    return network.eval()


def _letterboxed(path: Path) -> tuple[torch.Tensor, ImageInfo]:
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    fitted, geometry = letterbox(image, (640, 640), minimal=True, stride=32)
    size = (image.shape[0], image.shape[1])
    info = letterbox_info(ImageInfo(str(path), 0, size), (geometry.ratio, geometry.ratio), geometry.canvas)
    return torch.from_numpy(fitted).permute(2, 0, 1)[None].float() / 255, info


def _rows(detector: Detector, raw: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The decoded output as published: cx, cy, w, h, objectness, probability of each class."""
    boxes, _ = detector.decode(raw)
    probabilities = torch.cat([level.flatten(1, 3)[..., 4:] for level in raw], dim=1).sigmoid()
    return torch.cat((xyxy_to_cxcywh(boxes), probabilities), dim=-1)


def test_detections(detector: Detector, shared: Path, golden: Path):
    figures = json.loads((golden / "official_yolov5n_detections.json").read_text())
    nms = NMS(confidence_threshold=0.25, iou_threshold=0.45, max_detections=1000, multi_label=False)
    num_detections = 0
    for folder in (shared / "data" / "images", shared / "data" / "coco-mini" / "images" / "val"):
        for path in sorted(folder.glob("*.jpg")):
            if path.name not in figures:
                continue
            expected = figures.pop(path.name)
            images, info = _letterboxed(path)
            assert list(images.shape) == expected["input_shape"], path.name
            with torch.inference_mode():
                raw = detector(images)
                rows = _rows(detector, raw)
                (found,) = nms(*detector.decode(raw))
            assert list(rows.shape) == expected["raw_shape"], path.name
            assert float(rows.double().sum()) == pytest.approx(expected["raw_sum"], rel=1e-6), path.name
            assert float(rows[..., 4].max()) == pytest.approx(expected["raw_obj_max"], abs=1e-5), path.name
            wanted = np.array(expected["detect"]).reshape(-1, 6)
            np.testing.assert_allclose(to_original(found.boxes, info), wanted[:, :4], atol=0.05, err_msg=path.name)
            np.testing.assert_allclose(found.scores, wanted[:, 4], atol=5e-4, err_msg=path.name)
            assert found.labels.tolist() == wanted[:, 5].astype(int).tolist(), path.name
            num_detections += len(wanted)
    assert not figures, f"pictures that were not found: {sorted(figures)}"
    assert num_detections > 10


@pytest.mark.slow
def test_detections_with_augmentation(detector: Detector, shared: Path, golden: Path):
    figures = json.loads((golden / "official_yolov5n_detections.json").read_text())
    nms = NMS(confidence_threshold=0.25, iou_threshold=0.45, max_detections=1000, multi_label=False)
    augmentation = Augmentation()
    inference = Inference([detector], nms, augmentation=augmentation)
    for folder in (shared / "data" / "images", shared / "data" / "coco-mini" / "images" / "val"):
        for path in sorted(folder.glob("*.jpg")):
            if path.name not in figures:
                continue
            expected = figures.pop(path.name)
            images, info = _letterboxed(path)
            with torch.inference_mode():
                rows = sum(scores.shape[1] for _, scores in augmentation(detector, images))
                (found,) = inference(images)
            assert rows == expected["tta_raw_shape"][1], path.name
            wanted = np.array(expected["detect_tta"]).reshape(-1, 6)
            np.testing.assert_allclose(to_original(found.boxes, info), wanted[:, :4], atol=0.05, err_msg=path.name)
            np.testing.assert_allclose(found.scores, wanted[:, 4], atol=5e-4, err_msg=path.name)
            assert found.labels.tolist() == wanted[:, 5].astype(int).tolist(), path.name
    assert not figures, f"pictures that were not found: {sorted(figures)}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image_size", "row", "options"),
    [
        (640, "coco-mini@640", []),
        (320, "coco-mini@320", []),
        (640, "coco-mini@640_tta", ["--model.inference.augmentation=TestTimeAugmentation"]),
        (640, "coco-mini@640_single_cls", ["--data.single_class=true"]),
    ],
)
def test_validation(
    image_size: int,
    row: str,
    options: list[str],
    shared: Path,
    golden: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    status = main(
        [
            "validate",
            f"--config={ROOT}/configs/model/yolov5n.yaml",
            f"--model.weights={shared}/weights/yolov5n.pt",
            f"--data.path={shared}/data/coco-mini/data.yaml",
            "--data.eval_batch_size=6",
            f"--data.image_size={image_size}",
            "--data.num_workers=0",
            "--trainer.accelerator=cpu",
            *options,
        ]
    )
    assert status == 0
    measured = json.loads((tmp_path / "runs" / "validate" / "metrics.json").read_text())
    expected = json.loads((golden / "official_yolov5n_val.json").read_text())[row]
    assert measured["val/yolov5_map_50"] == pytest.approx(expected["map50"], abs=2e-3)
    assert measured["val/yolov5_map"] == pytest.approx(expected["map50_95"], abs=2e-3)
    assert measured["val/precision"] == pytest.approx(expected["precision"], abs=5e-3)
    assert measured["val/recall"] == pytest.approx(expected["recall"], abs=5e-3)
    assert measured["val/fitness"] == pytest.approx(
        0.1 * measured["val/yolov5_map_50"] + 0.9 * measured["val/yolov5_map"]
    )


def test_validation_of_one_class(detector: Detector, shared: Path, golden: Path):
    """Boxes of all classes suppress each other; then every detection and every label is an object, whatever it is."""
    data = DetectionDataModule(
        shared / "data" / "coco-mini" / "data.yaml", eval_batch_size=6, image_size=640, num_workers=0
    )
    data.setup("validate")
    nms, metrics = NMS(class_agnostic=True), DetectionMetrics(["object"])
    for batch in data.val_dataloader():
        with torch.inference_mode():
            found = nms(*detector.decode(detector(batch.images.float() / 255)))
        detections, targets = [], []
        for position, (each, info) in enumerate(zip(found, batch.infos, strict=True)):
            own = batch.image_index == position
            boxes = to_original(each.boxes, info)
            detections.append(Detections(boxes, each.scores, torch.zeros_like(each.labels)))
            targets.append(
                {"boxes": to_original(batch.boxes[own], info), "labels": torch.zeros_like(batch.labels[own])}
            )
        metrics.update(detections, targets, image_ids=[info.index for info in batch.infos])
    measured: dict[str, Any] = metrics.compute()
    expected = json.loads((golden / "official_yolov5n_val.json").read_text())["coco-mini@640_single_cls"]
    assert measured["yolov5_map_50"] == pytest.approx(expected["map50"], abs=5e-3)
    assert measured["yolov5_map"] == pytest.approx(expected["map50_95"], abs=5e-3)
