"""What bad input gets: a message that names the file or key, and no traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tests.runs import run, write_shapes
from yolo_lightning.cli import main

Options = Callable[[Path, Path], list[str]]


def changed(shapes: Path, folder: Path, **values: object) -> Path:
    """The data set of another yaml."""
    content = {**yaml.safe_load(shapes.read_text()), "path": str(shapes.parent), **values}
    file = folder / "changed.yaml"
    file.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return file


def without_images(folder: Path) -> Path:
    data = write_shapes(folder / "incomplete", train=1, val=1)
    shutil.rmtree(data.parent / "images" / "train")
    return data


def with_wrong_class(folder: Path) -> Path:
    data = write_shapes(folder / "wrong", train=2, val=1)
    (data.parent / "labels" / "train" / "001.txt").write_text("0 0.5 0.5 0.2 0.2\n5 0.5 0.5 0.1 0.1\n")
    return data


def text_file(folder: Path) -> Path:
    (folder / "text.ckpt").write_text("not a checkpoint")
    return folder / "text.ckpt"


def tensors_only(folder: Path) -> Path:
    torch.save({"weight": torch.zeros(1)}, folder / "tensors.ckpt")
    return folder / "tensors.ckpt"


CASES: dict[str, tuple[Options, list[str]]] = {
    "no data set": (lambda shapes, folder: ["--data.path=null"], ["data.path", "data.yaml"]),
    "no such yaml": (lambda shapes, folder: ["--data.path=none.yaml"], ["none.yaml", "does not exist"]),
    "no images": (
        lambda shapes, folder: [f"--data.path={without_images(folder)}"],
        ["incomplete/data.yaml", "'train'", "images/train", "does not exist"],
    ),
    "no key": (
        lambda shapes, folder: [f"--data.path={changed(shapes, folder, train=None)}"],
        ["changed.yaml", "'train'"],
    ),
    "names and nc": (
        lambda shapes, folder: [f"--data.path={changed(shapes, folder, nc=3)}"],
        ["changed.yaml", "'nc' is 3", "'names' has 5"],
    ),
    "class out of range, strict": (
        lambda shapes, folder: [f"--data.path={with_wrong_class(folder)}", "--data.dataset.policy=strict"],
        ["labels/train/001.txt:2", "class 5", "0…4"],
    ),
    "checkpoint missing": (lambda shapes, folder: ["--ckpt_path=none.ckpt"], ["--ckpt_path", "none.ckpt"]),
    "checkpoint of no run": (
        lambda shapes, folder: ["--ckpt_path=last"],
        ["--ckpt_path last", "there is no runs/*/checkpoints/last.ckpt"],
    ),
    "checkpoint a folder": (lambda shapes, folder: [f"--ckpt_path={folder}"], ["--ckpt_path"]),
    "checkpoint a text": (
        lambda shapes, folder: [f"--ckpt_path={text_file(folder)}"],
        ["--ckpt_path", "text.ckpt", "--model.weights"],
    ),
    "checkpoint of tensors": (
        lambda shapes, folder: [f"--ckpt_path={tensors_only(folder)}"],
        ["--ckpt_path", "tensors.ckpt", "no state_dict"],
    ),
    "weights missing": (lambda shapes, folder: ["--model.weights=none.pt"], ["none.pt", "do not exist"]),
    "weights a text": (
        lambda shapes, folder: [f"--model.weights={text_file(folder)}"],
        ["text.ckpt", "no file of weights"],
    ),
    "another number of classes": (
        lambda shapes, folder: ["--model.class_names=[a,b]"],
        ["2 classes [a, b]", "5 [circle", "--model.weights"],
    ),
    "no images in a batch": (lambda shapes, folder: ["--data.batch_size=0"], ["batch_size is 0"]),
    "no pixels": (lambda shapes, folder: ["--data.image_size=0"], ["image_size is 0"]),
    "another stride": (lambda shapes, folder: ["--data.stride=16"], ["multiples of 32", "--data.stride 32"]),
    "threshold": (
        lambda shapes, folder: ["--model.postprocess.confidence_threshold=3"],
        ["confidence_threshold is 3.0", "between 0 and 1"],
    ),
    "average": (lambda shapes, folder: ["--ema.decay=1"], ["ema.decay"]),
    "no end": (lambda shapes, folder: ["--trainer.max_epochs=-1"], ["max_epochs"]),
    "run name": (lambda shapes, folder: ["--name=a/b"], ["'a/b'", "--runs"]),
    "devices by index": (lambda shapes, folder: ["--trainer.devices=0,1"], ["--trainer.devices", "devices 2"]),
    "device by index": (lambda shapes, folder: ["--trainer.devices=[0]"], ["--trainer.devices", "devices 2"]),
}


@pytest.mark.parametrize("case", CASES)
def test_message(case: str, config: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    options, wanted = CASES[case]
    before = {path: path.read_bytes() for path in shapes.parent.rglob("*") if path.is_file()}
    status = main(["fit", f"--config={config}", "--trainer.max_epochs=1", *options(shapes, tmp_path)])
    message = capsys.readouterr().err
    assert status == 1
    assert "error: " in message
    final = message[message.index("error: ") :]
    assert [part for part in wanted if part not in final] == []
    assert "Traceback" not in message
    assert "Namespace(" not in message
    assert {path: path.read_bytes() for path in shapes.parent.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], ["fit,validate,test,predict"]),
        (["train"], ["train", "fit"]),
        (["fit", "--model.depth=1"], ["depth", "not accepted"]),
        (["fit", "--data.btach_size=1"], ["btach_size", "not accepted"]),
        (["fit", "--trainer.num_epochs=1"], ["num_epochs"]),
        (["fit", "--model.lr_scheduler=Sawtooth"], ["Sawtooth"]),
        (["fit", "--data.batch_size=many"], ["batch_size", "many"]),
    ],
)
def test_usage(arguments: list[str], wanted: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    message = capsys.readouterr().err
    assert stopped.value.code == 2
    assert [part for part in wanted if part not in message] == []
    assert "Traceback" not in message


def test_unknown_key_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "wrong.yaml").write_text("data:\n  init_args:\n    imagesize: 320\n")
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config=wrong.yaml"])
    assert stopped.value.code == 2
    assert "imagesize" in capsys.readouterr().err


def test_published_weights_are_no_checkpoint(config: Path, shared: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["fit", f"--config={config}", f"--ckpt_path={shared}/weights/yolov5n.pt"]) == 1
    message = capsys.readouterr().err
    assert "yolov5n.pt is not a checkpoint of this library" in message
    assert "--model.weights" in message


def test_traceback_on_request(config: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("YOLO_LIGHTNING_TRACEBACK", "1")
    with pytest.raises(ValueError, match=r"none\.yaml"):
        main(["fit", f"--config={config}", "--data.path=none.yaml"])


@pytest.mark.slow
def test_exit_status_of_the_process(config: Path, tmp_path: Path):
    process = run("fit", f"--config={config}", "--data.path=none.yaml", cwd=tmp_path)
    assert process.returncode == 1
    assert "error: none.yaml" in process.stderr
    assert "Traceback" not in process.stdout + process.stderr
