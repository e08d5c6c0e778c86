"""Exported files answer as the network does, or are not kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.inference.conftest import CLASS_NAMES, tiny_detector
from yolo_lightning.errors import InputError
from yolo_lightning.export import FORMATS, ExportOptions, export_network
from yolo_lightning.inference import Predictor, load
from yolo_lightning.models import yolov5
from yolo_lightning.runtimes import contract_path, golden_path, load_exported
from yolo_lightning.runtimes.contract import Thresholds

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8))
OPTIONS: dict[str, dict[str, Any]] = {
    "static": {},
    "dynamic": {"dynamic": True},
    "preprocess": {"preprocess": True},
    "nms": {"nms": True, "thresholds": Thresholds(0.3, 0.5, 20)},
}


def export(name: str, folder: Path, images: torch.Tensor = IMAGES, **options: Any) -> Path:
    path = folder / f"tiny{FORMATS[name].suffix}"
    size = (images.shape[2], images.shape[3])
    settings = ExportOptions(image_size=size, batch_size=len(images), **options)
    export_network(tiny_detector(), CLASS_NAMES, name, path, settings, images=images)
    return path


def assert_alike(exported: Predictor, plain: Predictor, images: list[np.ndarray]) -> None:
    found, wanted = exported(images).detections, plain(images).detections
    assert sum(len(each) for each in wanted) > len(images)
    for one, other in zip(found, wanted, strict=True):
        assert one.labels.tolist() == other.labels.tolist()
        torch.testing.assert_close(one.boxes, other.boxes, atol=0.1, rtol=0)
        torch.testing.assert_close(one.scores, other.scores, atol=1e-3, rtol=0)


def pictures(*shapes: tuple[int, int]) -> list[np.ndarray]:
    return [np.random.default_rng(n).integers(0, 256, (*shape, 3), np.uint8) for n, shape in enumerate(shapes)]


CASES = [
    (name, kind)
    for name, each in FORMATS.items()
    if name in ("onnx", "openvino", "torchscript", "torch_export")  # others have tests of their own
    for kind, options in OPTIONS.items()
    if all(option in each.abilities for option, value in options.items() if value is True)
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_file_finds_what_the_network_finds(name: str, kind: str, tmp_path: Path) -> None:
    options = OPTIONS[kind]
    path = export(name, tmp_path, **options)
    thresholds = options.get("thresholds", Thresholds())
    settings = {
        "confidence_threshold": thresholds.confidence,
        "iou_threshold": thresholds.iou,
        "max_detections": thresholds.max_detections,
    }
    exported = load(path, device="cpu", **settings)
    plain = Predictor(tiny_detector(), CLASS_NAMES, device="cpu", size=64, **settings)
    assert exported.names == CLASS_NAMES
    # Three for a file of two.
    assert_alike(exported, plain, pictures((64, 64), (64, 64), (64, 64)))
    if kind == "dynamic":
        for images in (pictures((64, 128)), pictures(*[(128, 80)] * 5)):
            assert_alike(load(path, device="cpu", size=128), load_plain(128), images)
    else:
        with pytest.raises(InputError, match=r"exported for images of 64×64"):
            exported(pictures((64, 64)), size=96)
        assert exported(pictures((100, 64))).input_size == [(64, 64)]  # not the least canvas


def load_plain(size: int) -> Predictor:
    return Predictor(tiny_detector(), CLASS_NAMES, device="cpu", size=size)


@pytest.mark.slow
def test_contract_and_golden_pair_are_enough_for_another_program(tmp_path: Path) -> None:
    """Reads no code of ours: what a program in another language does."""
    import onnxruntime

    path = export("onnx", tmp_path)
    contract = json.loads(path.with_name("tiny.onnx.json").read_text(encoding="utf-8"))
    wanted = contract["input"]
    assert (wanted["layout"], wanted["dtype"], wanted["color"]) == ("NCHW", "float32", "RGB")
    assert (wanted["batch"], wanted["height"], wanted["width"], wanted["stride"]) == (2, 64, 64, 32)
    assert contract["class_names"] == list(CLASS_NAMES)
    assert contract["strides"] == [8, 16, 32]
    assert contract["letterbox"]["value"] == 114
    golden = np.load(path.with_name("tiny.onnx.npz"))
    session = onnxruntime.InferenceSession(str(path))
    (rows,) = session.run([contract["output"]["name"]], {wanted["name"]: golden["images"].astype(np.float32) / 255})
    found = np.take_along_axis(rows, golden["index"][..., None], 1)
    np.testing.assert_allclose(found, golden["rows"], atol=1e-2)
    metadata = session.get_modelmeta().custom_metadata_map
    assert (metadata["stride"], json.loads(metadata["names"])) == ("32", {str(n): c for n, c in enumerate(CLASS_NAMES)})


@pytest.mark.slow
def test_a_damaged_graph_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    from yolo_lightning.export import onnx as writer

    write = writer.write

    def damage(job: Any, path: Path) -> None:
        write(job, path)
        model = onnx.load(path)
        weights = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
        values = onnx.numpy_helper.to_array(weights).copy()
        values[0] *= 1.5  # one of the filters
        weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
        onnx.save(model, path)

    monkeypatch.setattr(writer, "write", damage)
    with pytest.raises(InputError, match=r"is not the network: boxes differ by up to"):
        export("onnx", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_file_that_is_judged_bad_is_not_kept_and_one_that_is_there_stays(tmp_path: Path) -> None:
    path = export("torchscript", tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    settings = ExportOptions(image_size=(64, 64), batch_size=2)

    def judge(made: Path) -> None:
        assert load_exported(made).num_classes == 3
        raise InputError("too bad")

    with pytest.raises(InputError, match="too bad"):
        export_network(
            tiny_detector(), CLASS_NAMES, "torchscript", path, settings, images=IMAGES, overwrite=True, judge=judge
        )
    with pytest.raises(InputError, match="--overwrite"):
        export("torchscript", tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_files_that_were_changed_or_lost(tmp_path: Path) -> None:
    path = export("onnx", tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(InputError, match=r"tiny\.onnx: is not the file that tiny\.onnx\.json was made for"):
        load(path)
    contract_path(path).unlink()
    with pytest.raises(InputError, match=r"tiny\.onnx: onnxruntime cannot open it"):
        load(path)
    path.write_bytes(content)
    assert load(path, device="cpu").names == CLASS_NAMES  # the contract is inside, too
    golden_path(path).unlink()
    assert load(path, device="cpu").names == CLASS_NAMES


@pytest.mark.slow
def test_what_the_suppression_in_the_file_left_out_cannot_be_had(tmp_path: Path) -> None:
    path = export("torchscript", tmp_path, nms=True)
    predictor = load(path, device="cpu")
    for setting, message in (
        ({"confidence_threshold": 0.1}, "confidence threshold below 0.25"),
        ({"iou_threshold": 0.7}, "IoU threshold above 0.45"),
        ({"multi_label": True}, "multi_label"),
    ):
        with pytest.raises(InputError, match=message):
            predictor(pictures((64, 64)), **setting)
    assert len(predictor(pictures((64, 64)), confidence_threshold=0.9)) == 1


def test_what_makes_no_sense_is_told_before_anything_is_written(tmp_path: Path) -> None:
    def run(name: str, **options: Any) -> None:
        settings = ExportOptions(image_size=(64, 64), **options)
        export_network(tiny_detector(), CLASS_NAMES, name, tmp_path / "x", settings, images=IMAGES)

    for name, options, message in (
        ("tflite", {}, "there is no format 'tflite': use onnx"),
        ("torchscript", {"int8": True}, "torchscript files cannot be exported with --int8; onnx, openvino can"),
        ("onnx", {"int8": True}, "--data"),
        ("onnx", {"half": True, "int8": True}, "choose one"),
        ("torchscript", {"opset": 18}, "no ONNX opset"),
        ("onnx", {"opset": 11}, "opset is 11; PyTorch exports 18 or higher"),
        ("onnx", {"opset": 99}, "cannot export"),
        ("onnx", {"batch_size": 0}, "at least 1"),
        ("onnx", {"thresholds": Thresholds(1.5)}, "between 0 and 1"),
    ):
        with pytest.raises(InputError, match=message):
            run(name, **options)
    assert not list(tmp_path.iterdir())


def test_the_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"onnxscript is needed .* yolo-lightning\[onnx\]"):
        export("onnx", tmp_path)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"openvino is needed .* yolo-lightning\[openvino\]"):
        export("openvino", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["n", "s", "m", "l", "x", "n6", "s6", "m6", "l6", "x6"])
def test_every_size_exports_to_onnx(size: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = ExportOptions(image_size=(64, 64))
    path = tmp_path / f"{size}.onnx"
    images = IMAGES[:1]
    made = export_network(yolov5(size).eval(), [f"c{n}" for n in range(80)], "onnx", path, settings, images=images)
    assert made.difference is not None
    assert made.difference.compared > 200 if size.endswith("6") else made.difference.compared > 250
    rows = load_exported(path).eval()(images.float() / 255)[0]
    assert rows.shape == (1, 255 if size.endswith("6") else 252, 85)
