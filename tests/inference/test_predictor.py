"""A predictor: the same answer whatever the form, the company and the order of its images."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.inference.conftest import CLASS_NAMES, tiny_detector
from yolo_lightning import models
from yolo_lightning.errors import InputError
from yolo_lightning.inference import Predictor, load
from yolo_lightning.models import Slices, WeightedBoxesFusion

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def images():
    """Pictures of several shapes."""
    generator = np.random.default_rng(1)
    return [generator.integers(0, 256, (*size, 3), np.uint8) for size in ((48, 64), (80, 40), (48, 64), (7, 90))]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.xyxy, second.xyxy, strict=True))


def test_no_images(predictor):
    results = predictor([])
    assert len(results) == 0
    assert results.xyxy == []


def test_detections_are_inside_and_above_the_threshold(predictor, images):
    results = predictor(images)
    assert [len(table) for table in results.xyxy] == [len(found) for found in results.detections]
    assert min(len(table) for table in results.xyxy) > 0
    for table, image in zip(results.xyxy, images, strict=True):
        height, width = image.shape[:2]
        assert table[:, 4].min() > 0.25
        assert table[:, :4].min() >= 0
        assert table[:, [0, 2]].max() <= width
        assert table[:, [1, 3]].max() <= height
    assert results.names == CLASS_NAMES
    assert set(results.speed) == {"preprocess", "inference", "postprocess"}


def test_company_changes_nothing(predictor, images):
    together = predictor(images)
    alone = [predictor(image) for image in images]
    for each, single in zip(together, alone, strict=True):
        # A batch is summed in another order, so not to the last bit.
        torch.testing.assert_close(each.xyxy[0], single.xyxy[0], atol=1e-2, rtol=1e-4)


def test_settings_of_a_call_and_of_the_predictor(predictor, images):
    all_found = predictor(images[0])
    few = predictor(images[0], confidence_threshold=0.9)
    assert 0 < len(few.xyxy[0]) < len(all_found.xyxy[0])
    assert same(predictor(images[0]), all_found), "a setting of a call is not kept"
    predictor.confidence_threshold = 0.9
    assert same(predictor(images[0]), few)
    assert predictor.confidence_threshold == 0.9
    assert len(predictor(images[0], confidence_threshold=0.25, max_detections=2).xyxy[0]) == 2


def test_classes_by_name_and_number(predictor, images):
    by_name = predictor(images[0], classes=["square", 2])
    assert set(by_name.xyxy[0][:, 5].tolist()) <= {1.0, 2.0}
    assert same(by_name, predictor(images[0], classes=[1, "triangle"]))
    assert len(predictor(images[0], classes=[]).xyxy[0]) == 0


def test_thresholds_of_classes(predictor, images):
    found = predictor(images[0], confidence_threshold=(0.25, 1.0, 0.25))
    assert 1.0 not in found.xyxy[0][:, 5].tolist()


def test_size_is_rounded_up_with_a_warning(predictor, images):
    with pytest.warns(UserWarning, match="not a multiple of the stride"):
        found = predictor(images[0], size=60)
    assert same(found, predictor(images[0], size=64))
    assert predictor(images[0], size=(32, 96)).input_sizes == ((32, 64),)


def test_made_in_inference_mode(images, weights):
    with torch.inference_mode():
        loaded = load(weights, device="cpu", size=64)
        found = loaded(images[0])
        direct = Predictor(tiny_detector().half().float(), CLASS_NAMES, device="cpu", size=64)(images[0])
    assert same(found, direct)
    loaded.model.train()(torch.rand(1, 3, 64, 64))[0].sum().backward()


def test_the_plain_network_is_used_as_it_is_now(predictor, images):
    before = predictor(images[0])
    with torch.no_grad():
        for conv in predictor.model.head.m:
            conv.bias -= 1000
    assert len(before.xyxy[0]) > len(predictor(images[0]).xyxy[0]) == 0
    assert predictor.model.training is False
    assert all(parameter.requires_grad for parameter in predictor.model.parameters())


def test_plain_network_can_be_trained(predictor, images):
    predictor(images[0])
    predictor.model.train()
    sum(level.square().mean() for level in predictor.model(torch.rand(2, 3, 64, 64))).backward()
    assert all(parameter.grad is not None for parameter in predictor.model.parameters())


def test_augmentation_slices_and_fusion(predictor, images):
    plain = predictor(images[0])
    augmented = predictor(images[0], augment=True)
    assert not same(plain, augmented)
    assert same(augmented, predictor(images[0], augment=models.TestTimeAugmentation()))
    large = np.tile(images[0], (4, 4, 1))
    sliced = predictor(large, slices=Slices(64, 0.25, full_image=False))
    assert len(sliced.xyxy[0]) > len(predictor(large).xyxy[0])
    assert sliced.xyxy[0][:, 2].max() > 200
    ensemble = Predictor([tiny_detector(), tiny_detector(seed=1)], CLASS_NAMES, device="cpu", size=64)
    pooled, fused = ensemble(images[0]), ensemble(images[0], fusion=WeightedBoxesFusion())
    assert len(pooled.xyxy[0]) > 0
    assert not same(pooled, fused)
    assert not same(pooled, plain)


def test_bfloat16_is_close(predictor, images):
    half = Predictor(tiny_detector(), CLASS_NAMES, device="cpu", precision="bfloat16", size=64)
    first, second = predictor(images[0]).xyxy[0], half(images[0]).xyxy[0]
    assert second.dtype == torch.float32
    assert abs(len(first) - len(second)) <= 0.1 * len(first)
    assert second[:, 4].max() == pytest.approx(float(first[:, 4].max()), abs=0.02)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_networks_of_other_channels(channels, images):
    predictor = Predictor(tiny_detector(in_channels=channels), CLASS_NAMES, device="cpu", size=64)
    image = np.random.default_rng(2).integers(0, 256, (48, 64, channels), np.uint8)
    assert predictor(image).images[0].shape == (48, 64, 3)
    if channels == 4:
        with pytest.raises(InputError, match="3 channels, but the network sees 4"):
            predictor(images[0])
    else:
        assert len(predictor(images[0]).xyxy[0]) > 0


def test_frames_of_a_stream(predictor, images, tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), images[0][..., ::-1])
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"bad\.png"):
        found = list(predictor.stream(tmp_path))
    assert [each.files[0] for each in found] == ["0.png", "1.png", "2.png"]
    assert all(same(each, predictor(images[0])) for each in found)


WRONG = {
    "threshold": ({"confidence_threshold": 1.5}, InputError, "between 0 and 1"),
    "class": ({"classes": ["sqare"]}, InputError, "square"),
    "class number": ({"classes": [3]}, InputError, r"0…2"),
    "unknown": ({"foo": 1}, TypeError, "no setting 'foo'"),
    "old name": ({"conf": 0.3}, TypeError, "confidence_threshold"),
    "misspelt": ({"max_detection": 3}, TypeError, "max_detections"),
    "size": ({"size": 0}, ValueError, "positive"),
    "sizes": ({"size": (1, 2, 3)}, ValueError, "height, width"),
    "half a class": ({"classes": [2.5]}, InputError, "names or numbers"),
    "slices": ({"slices": 320}, InputError, "models.Slices"),
    "size of half a pixel": ({"size": 64.5}, InputError, "wrong type"),
    "threshold as text": ({"confidence_threshold": "0.5"}, InputError, "confidence_threshold|wrong type"),
    "number of thresholds": ({"confidence_threshold": (0.1, 0.2)}, ValueError, "3"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_settings(case, predictor, images):
    settings, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        predictor(images[0], **settings)


def test_wrong_attributes(predictor):
    with pytest.raises(AttributeError, match="confidence_threshold"):
        predictor.conf = 0.3
    with pytest.raises(AttributeError, match="iou_threshold"):
        _ = predictor.iou
    with pytest.raises(InputError, match="between 0 and 1"):
        predictor.iou_threshold = 7
    assert predictor.iou_threshold == 0.45


def test_wrong_networks():
    with pytest.raises(ValueError, match="2 class names for a network of 3"):
        Predictor(tiny_detector(), ["a", "b"])
    with pytest.raises(InputError, match="at least one"):
        Predictor([], [])
    with pytest.raises(InputError, match="same number of classes"):
        Predictor([tiny_detector(), tiny_detector(2)], CLASS_NAMES)
    with pytest.raises(InputError, match="float16 needs a GPU"):
        Predictor(tiny_detector(), CLASS_NAMES, device="cpu", precision="float16")
    with pytest.raises(InputError, match="device cuda:99 cannot be used"):
        Predictor(tiny_detector(), CLASS_NAMES, device="cuda:99")


@pytest.mark.parametrize("augment", [False, True])
def test_official_detections(augment: bool, shared: Path, golden: Path):
    """What YOLOv5 itself finds, from the files to the pixels of the originals."""
    predictor = load(shared / "weights" / "yolov5n.pt", device="cpu", augment=augment)
    expected = json.loads((golden / "official_yolov5n_detections.json").read_text())
    folders = [shared / "data" / "images", shared / "data" / "coco-mini" / "images" / "val"]
    results = predictor([str(folder) for folder in folders])
    assert set(results.files) == set(expected)
    for each in results:
        figures = expected[each.files[0]]
        wanted = np.array(figures["detect_tta" if augment else "detect"]).reshape(-1, 6)
        found = each.xyxy[0].numpy()
        np.testing.assert_allclose(found[:, :4], wanted[:, :4], atol=0.05, err_msg=each.files[0])
        np.testing.assert_allclose(found[:, 4], wanted[:, 4], atol=5e-4, err_msg=each.files[0])
        assert found[:, 5].tolist() == wanted[:, 5].tolist(), each.files[0]
