"""``yolo-lightning export``, and exported files in the place of weights."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.export.conftest import calm_detector
from tests.runs import CLASS_NAMES, check_run, figures, run
from yolo_lightning.models import YOLOv5Head, save_weights

pytestmark = pytest.mark.slow

SIZE = ("--image-size", 64)


class FarHead(YOLOv5Head):
    """One that a process does not know until it imports this module."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "calm.safetensors"
    save_weights(calm_detector(len(CLASS_NAMES)), path, CLASS_NAMES)
    return path


@pytest.fixture(scope="module")
def made(weights: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TorchScript file whose mAP was compared."""
    folder = tmp_path_factory.mktemp("made")
    words = ("--format", "torchscript", "--batch-size", 2, "--data", shapes, "--output", folder)
    check_run("export", weights, *SIZE, *words, cwd=folder)
    return folder / "calm.torchscript"


def words(text: str) -> str:
    """Without the line breaks of the terminal."""
    return " ".join(text.split())


def test_one_format_that_fails_does_not_stop_the_others(weights: Path, tmp_path: Path) -> None:
    formats = ("--format", "onnx,torch_export,torchscript", "--nms", "--output", tmp_path / "made")
    process = run("export", weights, *SIZE, *formats, cwd=tmp_path)
    assert process.returncode == 1
    lines = [line for line in process.stdout.splitlines() if line.strip()]
    assert lines[0] == "torch_export: torch_export files cannot be exported with --nms; " + lines[0].rpartition("; ")[2]
    assert lines[0].endswith(" can")
    assert lines[1].split() == ["file", "MB", "boxes", "±px", "scores", "±", "mAP", "lost"]
    assert [line.split()[0] for line in lines[-3:-1]] == ["calm.onnx", "calm.torchscript"]
    assert words(lines[-1]) == f"written to {tmp_path / 'made'}, each with its contract and a golden pair"
    # Nothing of the libraries.
    assert len(lines) <= 6
    assert process.stderr == ""
    written = {file.name for file in (tmp_path / "made").iterdir()}
    assert written == {f"calm.{kind}{end}" for kind in ("onnx", "torchscript") for end in ("", ".json", ".npz")}
    again = run("export", weights, *SIZE, "--format", "torchscript", "--output", tmp_path / "made", cwd=tmp_path)
    assert again.returncode == 1
    assert "calm.torchscript exists: --overwrite replaces it" in words(again.stdout)


def test_int8_says_nothing_but_the_table(weights: Path, shapes: Path, tmp_path: Path) -> None:
    options = ("--format", "openvino,onnx", "--int8", "--data", shapes, "--calibration-images", 4, "--max-map-drop", 1)
    process = check_run("export", weights, *SIZE, *options, "--output", tmp_path, cwd=tmp_path)
    lines = [line for line in process.stdout.splitlines() if line.strip()]
    assert [line.split()[0] for line in lines[-3:-1]] == ["calm-int8_openvino_model", "calm-int8.onnx"]
    assert len(lines) <= 5, process.stdout
    assert process.stderr == ""
    contract = json.loads((tmp_path / "calm-int8.onnx.json").read_text())
    assert contract["precision"] == "int8"


def test_a_file_that_loses_too_much_is_not_written(weights: Path, shapes: Path, tmp_path: Path) -> None:
    options = (
        "--format",
        "torchscript",
        "--data",
        shapes,
        "--max-map-drop",
        -1,
        "--nms",
        "--output",
        tmp_path / "made",
    )
    process = run("export", weights, *SIZE, *options, cwd=tmp_path)
    assert process.returncode == 1
    message = words(process.stdout)
    assert re.search(
        r"torchscript: the exported file has mAP [\d.]+ on .*data\.yaml, the network [\d.]+: it loses", message
    )
    assert "more than -1 (--max-map-drop)" in message
    assert not list((tmp_path / "made").iterdir())


def test_detect_and_validate(made: Path, weights: Path, shapes: Path, config: Path, tmp_path: Path) -> None:
    pictures = shapes.parent / "images" / "val"
    found = {}
    for name, path, more in (("file", made, ()), ("weights", weights, ("--image-size", "[64,64]"))):
        options = ("--device", "cpu", "--save-json", "--name", name, *more)
        check_run("detect", path, pictures, *options, cwd=tmp_path)
        found[name] = json.loads((tmp_path / "runs" / name / "detections.json").read_text())
    counts = {name: sum(len(each["detections"]) for each in entries) for name, entries in found.items()}
    assert counts["file"] > 5
    assert abs(counts["file"] - counts["weights"]) <= 2  # where boxes overlap by just the threshold
    common = (f"--config={config}", "--data.rectangular=false")
    for name, path in (("a", made), ("b", weights)):
        check_run("validate", *common, f"--model.weights={path}", f"--name={name}", cwd=tmp_path)
    one, other = figures(tmp_path / "runs" / "a"), figures(tmp_path / "runs" / "b")
    assert other["val/yolov5_map"] > 0 or other["val/mar_100"] > 0
    for key in ("val/map", "val/yolov5_map", "val/mar_100"):
        assert one[key] == pytest.approx(other[key], abs=1e-3)
    process = run("validate", *common, "--data.image_size=96", f"--model.weights={made}", cwd=tmp_path)
    assert process.returncode == 1
    assert "the network is exported for images of 64×64 pixels alone" in words(process.stderr)
    process = run("fit", *common, f"--model.weights={made}", cwd=tmp_path)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert "exported" in process.stderr


def test_a_contract_of_another_data_set(made: Path, shapes: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made.parent, tmp_path / "copy")
    contract = json.loads((folder / "calm.torchscript.json").read_text())
    contract["class_names"] = ["only"]
    (folder / "calm.torchscript.json").write_text(json.dumps(contract))
    options = (f"--data.path={shapes}", "--data.image_size=64", "--data.rectangular=false")
    process = run("validate", f"--model.weights={folder / made.name}", *options, cwd=tmp_path)
    assert process.returncode == 1
    assert "the exported network knows 1 classes" in words(process.stderr)
    (folder / made.name).write_bytes(made.read_bytes()[:-50])
    process = run("detect", folder / made.name, shapes.parent / "images" / "val", cwd=tmp_path)
    assert process.returncode == 1
    assert "calm.torchscript: is not the file that calm.torchscript.json was made for" in words(process.stderr)
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "onnx,tflight"), "there is no format 'tflight': use onnx"),
        (("--int8",), "int8 takes its ranges from images: give --data data.yaml"),
        (("--max-map-drop", 0.1), "max_map_drop compares mAP on images: give --data"),
        (("--calibration-images", 0), "calibration_images"),
        (("--batch-size", 0), "batch_size is 0"),
        (("--half", "--int8"), "choose one"),
        (("--data", "none.yaml"), "none.yaml"),
    ],
)
def test_what_makes_no_sense(options: tuple[object, ...], message: str, weights: Path, tmp_path: Path) -> None:
    process = run("export", weights, *options, "--output", tmp_path / "made", cwd=tmp_path)
    assert process.returncode == 1
    assert message in words(process.stderr)
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "made").exists()


def test_weights_that_cannot_be_exported(weights: Path, shapes: Path, made: Path, tmp_path: Path) -> None:
    save_weights(calm_detector(len(CLASS_NAMES), head=FarHead), tmp_path / "own.safetensors", CLASS_NAMES)
    save_weights(calm_detector(2), tmp_path / "two.safetensors", ("a", "b"))
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:-100])
    for path, options, message in (
        ("own.safetensors", (), "FarHead"),
        ("two.safetensors", ("--data", shapes), "the network has 2 classes, but"),
        ("cut.safetensors", (), "cut.safetensors"),
        (made, (), "calm.torchscript"),
    ):
        process = run("export", path, *SIZE, *options, "--output", tmp_path / "made", cwd=tmp_path)
        assert process.returncode == 1
        assert message in words(process.stderr)
        assert "Traceback" not in process.stderr
    assert not (tmp_path / "made").exists()


def test_help(tmp_path: Path) -> None:
    text = words(check_run("export", "--help", cwd=tmp_path).stdout)
    for part in ("yolo-lightning export weights [options]", "--format", "--max_map_drop", "one that does not answer"):
        assert part in text, text
