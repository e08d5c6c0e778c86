"""Feature maps: those of the right layer and picture, whole, and without a change to the results."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.inference.conftest import CLASS_NAMES, tiny_detector
from tests.inference.test_pipeline import Recorded, frames
from yolo_lightning.errors import InputError
from yolo_lightning.inference import Frame, Predictor
from yolo_lightning.inference.features import FeatureRecorder, draw_maps, named_layers
from yolo_lightning.inference.pipeline import run_pipeline
from yolo_lightning.models import PAFPN, Backbone, CSPDarknet, Detector, Neck, Slices, YOLOv5Head, yolov5
from yolo_lightning.types import FeatureInfo

pytestmark = pytest.mark.usefixtures("one_thread")

YOLOV5_LAYERS = (
    *("00_Conv", "01_Conv", "02_C3", "03_Conv", "04_C3", "05_Conv", "06_C3", "07_Conv", "08_C3", "09_SPPF"),
    *("10_Conv", "13_C3", "14_Conv", "17_C3", "18_Conv", "20_C3", "21_Conv", "23_C3"),
)
TwoLevelHead = partial(YOLOv5Head, anchors=[[10, 13, 16, 30], [30, 61, 62, 45]])


def picture(name: str, size: tuple[int, int] = (48, 64), seed: int = 0) -> Frame:
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return Frame(image, name, name)


def record(predictor, images, directory):
    with FeatureRecorder(predictor, directory) as recorder:
        return recorder.detect(recorder.prepare(images))


def read(path):
    return np.load(path, allow_pickle=False)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def test_nothing_is_written_of_no_image(predictor, tmp_path):
    assert len(record(predictor, [], tmp_path / "features")) == 0
    assert not (tmp_path / "features").exists()


def test_each_layer_of_yolov5_under_its_number(predictor, tmp_path):
    record(predictor, [picture("bus.jpg")], tmp_path)
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert written == sorted(f"bus/{layer}.{ending}" for layer in YOLOV5_LAYERS for ending in ("npy", "png"))
    strides = {layer: 64 // read(tmp_path / f"bus/{layer}.npy").shape[2] for layer in YOLOV5_LAYERS}
    assert list(strides.values()) == [2, 4, 4, 8, 8, 16, 16, 32, 32, 32, 32, 16, 16, 8, 16, 16, 32, 32]
    assert read(tmp_path / "bus/17_C3.npy").shape[1:] == (8, 8), "the letterbox's margin included"


def test_layers_of_four_levels():
    names = [name for name, _ in named_layers(yolov5("n6"))]
    assert names[:2] == ["00_Conv", "01_Conv"]
    assert names[-1] == "32_C3"
    assert len(names) == 12 + 6 + 6


def test_values_are_what_the_layers_make(predictor, tmp_path):
    frame = picture("bus.jpg")
    record(predictor, [frame], tmp_path)
    fused = predictor.networks.fused()[0]
    images = predictor.networks.to_input(predictor.prepare([frame]).batches[0].images)
    with torch.inference_mode():
        fine, middle, coarse = fused.backbone(images)
        outputs = fused.neck((fine, middle, coarse))
    expected = {"04_C3": fine, "06_C3": middle, "09_SPPF": coarse}
    expected |= dict(zip(("17_C3", "20_C3", "23_C3"), outputs, strict=True))
    for layer, maps in expected.items():
        found = read(tmp_path / f"bus/{layer}.npy")
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, maps[0].numpy())


def test_pictures_of_different_sizes_in_one_batch(predictor, tmp_path):
    images = [picture("a.jpg"), picture("b.jpg", (64, 32), 1), picture("c.jpg", seed=2)]
    record(predictor, images, tmp_path / "together")
    for image in images:
        record(predictor, [image], tmp_path / "alone")
        stem = image.name[0]
        together, alone = (read(tmp_path / which / stem / "23_C3.npy") for which in ("together", "alone"))
        assert together.shape == alone.shape
        np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_results_are_the_same(precision, tmp_path):
    predictor = Predictor(tiny_detector(), CLASS_NAMES, device="cpu", size=64, precision=precision)
    images = [picture("a.jpg"), picture("b.jpg", seed=1)]
    plain = [predictor.predict(images) for _ in range(2)]
    recorded = record(predictor, images, tmp_path)
    after = predictor.predict(images)
    for results in (plain[1], recorded, after):
        for mine, theirs in zip(results.xyxy, plain[0].xyxy, strict=True):
            assert mine.equal(theirs)
            assert len(mine) > 0
    assert read(tmp_path / "a/00_Conv.npy").dtype == np.float32
    assert len(list(tmp_path.iterdir())) == 2, "later calls write nothing"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_half_precision_on_a_gpu(tmp_path):
    predictor = Predictor(tiny_detector(), CLASS_NAMES, device="cuda", size=64, precision="float16")
    results = record(predictor, [picture("a.jpg"), picture("b.jpg", seed=1)], tmp_path)
    assert read(tmp_path / "b/23_C3.npy").dtype == np.float16
    assert results.xyxy[0].equal(predictor.predict([picture("a.jpg"), picture("b.jpg", seed=1)]).xyxy[0])


def test_an_ensemble_shows_its_first_network(tmp_path):
    detectors = [tiny_detector(seed=seed) for seed in (0, 1)]
    ensemble = Predictor(detectors, CLASS_NAMES, device="cpu", size=64)
    results = record(ensemble, [picture("a.jpg")], tmp_path / "both")
    record(Predictor(detectors[0], CLASS_NAMES, device="cpu", size=64), [picture("a.jpg")], tmp_path / "first")
    np.testing.assert_array_equal(read(tmp_path / "both/a/23_C3.npy"), read(tmp_path / "first/a/23_C3.npy"))
    assert results.xyxy[0].equal(ensemble.predict([picture("a.jpg")]).xyxy[0])


def test_new_weights_are_seen(predictor, tmp_path):
    with FeatureRecorder(predictor, tmp_path) as recorder:
        recorder.detect(recorder.prepare([picture("old.jpg")]))
        with torch.no_grad():
            for parameter in predictor.model.backbone.parameters():
                parameter.mul_(0.5)
        recorder.detect(recorder.prepare([picture("new.jpg")]))
    old, new = (read(tmp_path / name / "09_SPPF.npy") for name in ("old", "new"))
    assert np.abs(old - new).max() > 1e-3


def test_all_frames_of_a_run(predictor, tmp_path):
    """More batches than may wait to be written, each map the one of its frame."""
    images = frames("clip", 11)
    with FeatureRecorder(predictor, tmp_path) as recorder:
        counts = run_pipeline(recorder, [Recorded("clip", images)], lambda result, source: None, batch_size=4)
    assert counts.num_frames == 11
    assert {path.name for path in tmp_path.iterdir()} == {f"clip_{number}" for number in range(11)}
    record(predictor, [images[9]], tmp_path / "alone")
    alone = read(tmp_path / "alone/clip_9/17_C3.npy")
    np.testing.assert_allclose(read(tmp_path / "clip_9/17_C3.npy"), alone, rtol=1e-3, atol=1e-3)


def test_equal_names_do_not_overwrite_each_other(predictor, tmp_path):
    record(predictor, [picture("a.jpg"), picture("a.jpg", seed=1)], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "a-2"}
    assert not np.array_equal(read(tmp_path / "a/00_Conv.npy"), read(tmp_path / "a-2/00_Conv.npy"))


@pytest.mark.parametrize("settings", [{"augment": True}, {"slices": Slices(32)}], ids=["augment", "slices"])
def test_several_looks_are_refused(settings, predictor, tmp_path):
    (name,) = settings
    many = Predictor(tiny_detector(), CLASS_NAMES, device="cpu", size=64, **settings)
    with pytest.raises(InputError, match=f"one look at the whole image: save them without {name}"):
        FeatureRecorder(many, tmp_path)
    with FeatureRecorder(predictor, tmp_path) as recorder:
        setattr(predictor, name, settings[name])
        with pytest.raises(InputError, match=name):
            recorder.detect(recorder.prepare([picture("a.jpg")]))


def test_a_folder_that_cannot_be_made(predictor, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"), FeatureRecorder(predictor, tmp_path / "file") as recorder:
        recorder.detect(recorder.prepare([picture("a.jpg")]))


class ListBackbone(Backbone):
    """Runs through a sequence and a list by itself; gives more than maps, and works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.features = FeatureInfo((8, 16), (8, 16))
        self.steps = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 8, 2, 2), nn.ReLU(inplace=True))
        self.last = nn.ModuleList([nn.Conv2d(8, 16, 2, 2)])
        self.pooled = nn.Flatten()
        self.pair = _Pair()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        for step in self.steps:
            images = step(images)
        self.pooled(images)
        coarse = self.last[0](images)
        return self.pair(images, coarse)


class _Pair(nn.Module):
    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, ...]:
        return fine, coarse


class PlainNeck(Neck):
    """Passes maps on without a layer of its own."""

    def __init__(self, features: FeatureInfo) -> None:
        super().__init__()
        self.features = features

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return maps


def test_networks_of_ones_own(tmp_path):
    torch.manual_seed(0)
    detector = Detector(3, backbone=ListBackbone, neck=PlainNeck, head=TwoLevelHead)
    predictor = Predictor(detector, CLASS_NAMES, device="cpu", size=64)
    record(predictor, [picture("a.jpg"), picture("b.jpg", seed=1)], tmp_path)
    assert {path.stem for path in (tmp_path / "b").glob("*.npy")} == {
        *(f"backbone.steps.{number}" for number in range(3)),
        "backbone.last.0",
        *(f"backbone.pair.{number}" for number in range(2)),
        *(f"neck.{number}" for number in range(2)),
    }
    before, after = (read(tmp_path / f"b/backbone.steps.{number}.npy") for number in (1, 2))
    assert before.min() < 0, "what was made before a layer that works in place"
    np.testing.assert_array_equal(np.maximum(before, 0), after)


def test_a_neck_of_yolov5_behind_a_backbone_of_ones_own():
    detector = Detector(3, backbone=ListBackbone, neck=PAFPN, head=TwoLevelHead)
    names = [name for name, _ in named_layers(detector)]
    assert "backbone.last.0" in names
    assert any(name.endswith("_C3") for name in names)
    assert "02_C3" in [name for name, _ in named_layers(Detector(3, partial(CSPDarknet, 0.33, 0.125), PlainNeck))]


def test_pictures_of_maps():
    ramp = np.linspace(-3, 5, 20 * 30, dtype=np.float32).reshape(20, 30)
    maps = np.stack([ramp, np.full_like(ramp, 7.0), ramp * 1e30, np.where(ramp > 0, np.nan, ramp)])
    drawn = draw_maps(maps)
    height, width = 80, 120  # four times as large
    assert drawn.shape == (height, 4 * width + 3 * 2, 3)
    cells = [drawn[:, start : start + width] for start in range(0, drawn.shape[1], width + 2)]
    assert cells[0][0, 0].tolist() == cells[1][0, 0].tolist() == cells[1][-1, -1].tolist() == [68, 1, 84]
    assert cells[0][-1, -1].tolist() == pytest.approx([253, 231, 37], abs=2)
    np.testing.assert_array_equal(cells[0], cells[2])


@pytest.mark.parametrize(("shape", "rows"), [((1, 1, 1), 1), ((8, 3, 5), 1), ((9, 3, 5), 2), ((200, 2, 2), 4)])
def test_up_to_32_channels(shape, rows):
    cell = draw_maps(np.zeros((1, *shape[1:]), np.float16)).shape
    assert max(cell) >= 96
    drawn = draw_maps(np.zeros(shape, np.float16))
    assert drawn.shape[0] == rows * cell[0] + (rows - 1) * 2


def test_large_maps_shrink_in_the_picture_alone(tmp_path, predictor):
    assert max(draw_maps(np.zeros((32, 300, 500), np.float32)).shape) <= 1600
    record(predictor, [picture("a.jpg")], tmp_path)
    with Image.open(tmp_path / "a/00_Conv.png") as image:
        assert image.format == "PNG"
