"""Exported files answer as the network does, or are not kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.export.alike import SETTINGS, assert_alike, pictures, plain
from tests.export.conftest import CASES, IMAGES, KINDS, NAMES, THRESHOLDS, calm_detector, export
from tests.inference.conftest import CLASS_NAMES
from yolo_lightning.errors import InputError
from yolo_lightning.export import FORMATS, Export, ExportOptions, export_network
from yolo_lightning.export.network import ExportedNetwork
from yolo_lightning.inference import load
from yolo_lightning.models import Detector, YOLOv5Head, yolov5
from yolo_lightning.ops import iou
from yolo_lightning.runtimes import contract_path, golden_path, load_exported
from yolo_lightning.runtimes.contract import Thresholds

pytestmark = pytest.mark.usefixtures("one_thread")

Get = Callable[[str, str], Export]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_file_finds_what_the_network_finds(name: str, kind: str, exported: Get) -> None:
    made = exported(name, kind)
    contract = made.contract
    options = KINDS[kind]
    assert contract.precision == ("float16" if options.get("half") else "int8" if options.get("int8") else "float32")
    assert contract.input.layout == ("NHWC" if options.get("preprocess") else "NCHW")
    assert (contract.suppression is not None) is options.get("nms", False)
    assert made.difference is not None
    if kind == "int8":  # boxes of large anchors move by a lot of pixels: as many as the eye cannot tell
        with torch.inference_mode():
            (rows,) = load_exported(made.path)(IMAGES.float() / 255)
            wanted_rows = ExportedNetwork(calm_detector())(IMAGES.float() / 255)
        assert not torch.equal(rows, wanted_rows)
        assert (rows - wanted_rows)[..., 4:].abs().mean() < 0.05
        assert (rows - wanted_rows)[..., :4].abs().mean() < 5
        return
    assert made.difference.compared >= 40
    predictor = load(made.path, device="cpu", size=64, **SETTINGS)
    assert predictor.names == CLASS_NAMES
    # Three for a file of two.
    assert_alike(predictor, plain(), pictures((64, 64), (64, 64), (64, 64)), contract.precision)
    if options.get("dynamic"):
        for images in (pictures((64, 128)), pictures(*[(128, 80)] * 5)):
            sizes = load(made.path, device="cpu", size=128, **SETTINGS)
            assert_alike(sizes, plain(128), images, contract.precision)
        with pytest.raises(InputError, match="multiples of 32"):
            load_exported(made.path)(torch.zeros(2, 3, 64, 65))
    else:
        with pytest.raises(InputError, match=r"exported for images of 64×64"):
            predictor(pictures((64, 64)), size=96)
        (found,) = predictor(pictures((100, 64))).detections
        assert len(found)
        assert float(found.boxes[:, 3].max()) <= 100  # the whole canvas, and back to the picture


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_no_objects_and_no_images(name: str, exported: Get) -> None:
    kind = "nms" if "nms" in FORMATS[name].abilities else "dynamic"
    predictor = load(exported(name, kind).path, device="cpu", size=64, **SETTINGS)
    assert [len(each) for each in predictor(pictures((64, 64)), confidence_threshold=1.0).detections] == [0]
    assert len(predictor([])) == 0


@pytest.mark.slow
def test_contract_and_golden_pair_are_enough_for_another_program(exported: Get) -> None:
    """Reads no code of ours: what a program in another language does."""
    import onnxruntime

    path = exported("onnx", "static").path
    contract = json.loads(path.with_name("calm.onnx.json").read_text(encoding="utf-8"))
    wanted = contract["input"]
    assert (wanted["layout"], wanted["dtype"], wanted["color"]) == ("NCHW", "float32", "RGB")
    assert (wanted["batch"], wanted["height"], wanted["width"], wanted["stride"]) == (2, 64, 64, 32)
    assert contract["class_names"] == list(CLASS_NAMES)
    assert contract["strides"] == [8, 16, 32]
    assert contract["letterbox"] == {"value": 114, "interpolation": "bilinear", "upscale": True}
    assert contract["thresholds"] == {"confidence": 0.25, "iou": 0.45, "max_detections": 1000}
    assert {"yolo-lightning", "torch", "onnx"} <= {library["name"] for library in contract["libraries"]}
    assert [file["name"] for file in contract["files"]] == ["calm.onnx", "calm.onnx.npz"]
    golden = np.load(path.with_name("calm.onnx.npz"))
    session = onnxruntime.InferenceSession(str(path))
    (rows,) = session.run([contract["output"]["name"]], {wanted["name"]: golden["images"].astype(np.float32) / 255})
    found = np.take_along_axis(rows, golden["index"][..., None], 1)
    np.testing.assert_allclose(found, golden["rows"], atol=contract["tolerance"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert (metadata["stride"], json.loads(metadata["names"])) == ("32", {str(n): c for n, c in enumerate(CLASS_NAMES)})


def scale_a_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a wrong exporter would do: one filter of a hundred is another."""
    from yolo_lightning.export import torchscript as writer

    write = writer.write

    def damage(job: Any, path: Path) -> None:
        with torch.no_grad():
            next(job.network.detector.neck.parameters())[0] *= 1.5
        write(job, path)

    monkeypatch.setattr(writer, "write", damage)


def test_a_damaged_network_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale_a_filter(monkeypatch)
    with pytest.raises(InputError, match=r"is not the network: boxes differ by up to .* more than 0.5 and 0.005"):
        export("torchscript", tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def damage_graph(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None]) -> None:
    import onnx

    from yolo_lightning.export import onnx as writer

    write = writer.write

    def damage(job: Any, path: Path) -> None:
        write(job, path)
        model = onnx.load(path)
        change(model.graph)
        onnx.save(model, path)

    monkeypatch.setattr(writer, "write", damage)


def set_tensor(tensor: Any, change: Callable[[np.ndarray], np.ndarray]) -> None:
    from onnx import numpy_helper

    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), tensor.name))


@pytest.mark.slow
def test_a_damaged_graph_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scale(graph: Any) -> None:
        weights = next(tensor for tensor in graph.initializer if len(tensor.dims) == 4)
        set_tensor(weights, lambda values: np.concatenate((values[:1] * 1.5, values[1:])))

    damage_graph(monkeypatch, scale)
    with pytest.raises(InputError, match=r"is not the network: boxes differ by up to"):
        export("onnx", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_graph_with_damaged_suppression_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tighten(graph: Any) -> None:
        """The overlap from which boxes go is another."""
        names = {node.input[3] for node in graph.node if node.op_type == "NonMaxSuppression"}
        tensors = [tensor for tensor in graph.initializer if tensor.name in names]
        assert tensors
        for tensor in tensors:
            set_tensor(tensor, lambda values: np.full_like(values, 0.01))

    damage_graph(monkeypatch, tighten)
    with pytest.raises(InputError, match=r"does not work: it misses an object of class \d"):
        export("onnx", tmp_path, **KINDS["nms"])
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_judged_bad_is_not_kept_and_one_that_is_there_stays(tmp_path: Path) -> None:
    path = export("torchscript", tmp_path).path
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(before) == {"calm.torchscript", "calm.torchscript.json", "calm.torchscript.npz"}
    settings = ExportOptions(image_size=(64, 64), batch_size=2)

    def judge(made: Path) -> None:
        assert load_exported(made).num_classes == 3
        raise InputError("too bad")

    with pytest.raises(InputError, match="too bad"):
        export_network(
            calm_detector(), CLASS_NAMES, "torchscript", path, settings, images=IMAGES, overwrite=True, judge=judge
        )
    with pytest.raises(InputError, match="--overwrite"):
        export("torchscript", tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    made = export("torchscript", tmp_path, overwrite=True, preprocess=True)
    assert load_exported(made.path).contract == made.contract
    assert {file.name for file in tmp_path.iterdir()} == set(before)


def test_a_directory_of_the_user_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "calm_openvino_model"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="a directory that no export made"):
        export("openvino", tmp_path, overwrite=True)
    assert [file.name for file in folder.iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to"):
        export("torchscript", tmp_path / "file")


class OwnHead(YOLOv5Head):
    """Its boxes are twice as large, and there is no objectness."""

    def decode(self, raw: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        boxes, scores = super().decode(raw)
        middle = (boxes[..., :2] + boxes[..., 2:]).repeat(1, 1, 2) / 2
        return middle + (boxes - middle) * 2, scores.sqrt()


@pytest.mark.parametrize("name", ["torchscript", "torch_export"])
def test_a_head_of_a_researcher(name: str, tmp_path: Path) -> None:
    detector = calm_detector(head=OwnHead)
    path = tmp_path / f"own{FORMATS[name].suffix}"
    settings = ExportOptions(image_size=(64, 64), batch_size=2)
    export_network(detector, CLASS_NAMES, name, path, settings, images=IMAGES)
    images = IMAGES.float() / 255
    with torch.inference_mode():
        exported = load_exported(path)
        boxes, scores = exported.decode(exported(images))
        wanted_boxes, wanted_scores = detector.decode(detector(images))
    torch.testing.assert_close(boxes, wanted_boxes, atol=0.1, rtol=0)
    torch.testing.assert_close(scores, wanted_scores, atol=1e-3, rtol=0)


class UntraceableHead(OwnHead):
    def decode(self, raw: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        boxes, scores = super().decode(raw)
        return (boxes, scores) if float(scores.max()) > 0 else (boxes * 0, scores)


def test_a_head_that_cannot_be_exported(tmp_path: Path) -> None:
    settings = ExportOptions(image_size=(64, 64), batch_size=2)
    with pytest.raises(InputError, match="PyTorch cannot export this network: "):
        export_network(
            calm_detector(head=UntraceableHead),
            CLASS_NAMES,
            "torch_export",
            tmp_path / "a.pt2",
            settings,
            images=IMAGES,
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["torchscript", pytest.param("onnx", marks=pytest.mark.slow)])
def test_files_that_were_changed_or_lost(name: str, exported: Get, tmp_path: Path) -> None:
    made = exported(name, "static").path
    path = tmp_path / made.name
    for file in made.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(InputError, match=rf"{path.name}: is not the file that {path.name}\.json was made for"):
        load(path)
    contract_path(path).unlink()
    with pytest.raises(InputError, match=rf"{path.name}: \w+ cannot open it .*: copy or export it again"):
        load(path)
    path.write_bytes(content)
    assert load(path, device="cpu").names == CLASS_NAMES  # the contract is inside, too
    golden_path(path).unlink()
    assert load(path, device="cpu").names == CLASS_NAMES


def test_a_truncated_program(tmp_path: Path) -> None:
    path = export("torch_export", tmp_path).path
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"calm\.pt2: is not the file"):
        load(path)
    contract_path(path).unlink()
    with pytest.raises(InputError, match=r"calm\.pt2: it is no program of torch\.export, or is damaged"):
        load(path)


@pytest.mark.slow
def test_a_truncated_openvino_model(tmp_path: Path) -> None:
    path = export("openvino", tmp_path).path
    assert {file.name for file in path.iterdir()} == {"model.xml", "model.bin", "contract.json", "golden.npz"}
    weights = path / "model.bin"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"model\.bin: is not the file that contract\.json was made for"):
        load(path)
    contract = json.loads(contract_path(path).read_text())
    contract_path(path).write_text(json.dumps({**contract, "files": []}))
    with pytest.raises(InputError, match="calm_openvino_model: OpenVINO cannot open it"):
        load(path)
    (path / "model.xml").unlink()
    with pytest.raises(InputError, match=r"holds 0 \.xml files"):
        load(path)


def test_what_the_suppression_in_the_file_left_out_cannot_be_had(exported: Get) -> None:
    predictor = load(exported("torchscript", "nms").path, device="cpu", **SETTINGS)
    for setting, message in (
        ({"confidence_threshold": 0.1}, "confidence threshold below 0.3"),
        ({"iou_threshold": 0.7}, "IoU threshold above 0.5"),
        ({"max_detections": 21}, "more than 20 detections"),
        ({"multi_label": True}, "multi_label"),
    ):
        with pytest.raises(InputError, match=message):
            predictor(pictures((64, 64)), **setting)
    (all_of_them,) = predictor(pictures((64, 64))).detections
    (sure,) = predictor(pictures((64, 64)), confidence_threshold=0.5).detections
    assert 0 < len(sure) < len(all_of_them) <= THRESHOLDS.max_detections
    assert sure.scores.min() > 0.5
    assert iou(sure.boxes[:1], sure.boxes[:1]).item() == pytest.approx(1)


def test_an_exported_network_is_not_changed(exported: Get) -> None:
    path = exported("torchscript", "static").path
    with pytest.raises(InputError, match="leave precision out"):
        load(path, precision="bfloat16")
    with pytest.raises(InputError, match="classes and channels cannot be changed"):
        load(path, classes=7)
    assert load(path, device="cpu", classes=["x", "y", "z"]).names == ("x", "y", "z")


@pytest.mark.slow
def test_an_opset_that_the_runtime_lacks(exported: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    model = onnx.load(exported("onnx", "static").path)
    model.opset_import[0].version = 99
    onnx.save(model, tmp_path / "new.onnx")
    with pytest.raises(InputError, match=r"(?is)new\.onnx: onnxruntime cannot open it .*opset 99"):
        load(tmp_path / "new.onnx")
    with pytest.raises(InputError, match=r"opset is 99; the onnx that is installed knows no higher one"):
        export("onnx", tmp_path / "made", opset=99)
    assert not list((tmp_path / "made").iterdir())
    made = export("onnx", tmp_path / "made", opset=18)
    assert onnx.load(made.path).opset_import[0].version == 18


def test_what_makes_no_sense_is_told_before_anything_is_written(tmp_path: Path) -> None:
    for name, options, message in (
        ("torchscript", {"int8": True}, "torchscript files cannot be exported with --int8; onnx, openvino"),
        ("torch_export", {"nms": True}, "torch_export files cannot be exported with --nms"),
        ("onnx", {"half": True, "int8": True}, "choose one"),
        ("torchscript", {"opset": 18}, "no ONNX opset"),
        ("onnx", {"opset": 11}, "opset is 11; PyTorch exports 18 or higher"),
        ("onnx", {"thresholds": Thresholds(1.5)}, "between 0 and 1"),
        ("onnx", {"thresholds": Thresholds(max_detections=0)}, "at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            export(name, tmp_path, **options)
    with pytest.raises(InputError, match="batch_size is 0; it must be at least 1"):
        ExportOptions(batch_size=0)
    settings = ExportOptions(image_size=(64, 64), int8=True)
    with pytest.raises(InputError, match="int8 needs images to take ranges from: give --data"):
        export_network(calm_detector(), CLASS_NAMES, "onnx", tmp_path / "a.onnx", settings, images=IMAGES)
    with pytest.raises(InputError, match="there is no format 'tflight': use onnx"):
        export_network(calm_detector(), CLASS_NAMES, "tflight", tmp_path / "a", images=IMAGES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("library", "name", "extra"),
    [("onnxscript", "onnx", "onnx"), ("onnxruntime", "onnx", "onnx"), ("openvino", "openvino", "openvino")],
)
def test_the_missing_library_is_named(
    library: str, name: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    message = rf"{library} is needed to export .*: install it with `pip install 'yolo-lightning\[{extra}\]'`"
    with pytest.raises(InputError, match=message):
        export(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("library", "name"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_the_missing_runtime_is_named(library: str, name: str, exported: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    path = exported(name, "static").path
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=rf"{library} is needed to run .*pip install 'yolo-lightning\[{name}\]'"):
        load(path, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("size", ["n", "s", "m", "l", "x", "n6", "s6", "m6", "l6", "x6"])
def test_every_size_exports_to_onnx(size: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = ExportOptions(image_size=(64, 64))
    path = tmp_path / f"{size}.onnx"
    images = IMAGES[:1]
    detector: Detector = yolov5(size).eval()
    made = export_network(detector, [f"c{n}" for n in range(80)], "onnx", path, settings, images=images)
    assert made.difference is not None
    assert made.difference.compared > 200 if size.endswith("6") else made.difference.compared > 250
    rows = load_exported(path).eval()(images.float() / 255)[0]
    assert rows.shape == (1, 255 if size.endswith("6") else 252, 85)
