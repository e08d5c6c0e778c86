"""Files of weights to share."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from tests.models.conftest import half_of
from tests.models.test_detector import TinyBackbone
from yolo_lightning.errors import InputError
from yolo_lightning.models import (
    Detector,
    YOLOv5Head,
    describe,
    detector_from_weights,
    load_weights,
    save_weights,
    yolov5,
)
from yolo_lightning.models.checkpoint import FORMAT_VERSION

NAMES = ["white cell", "red", "Plättchen"]


def small(**options: object) -> Detector:
    """A network in which every tensor is its own, anchors that half precision cannot hold included."""
    torch.manual_seed(3)
    detector = Detector(
        3, partial(TinyBackbone, 6, **options), head=partial(YOLOv5Head, anchors=[[10.1, 2049.3], [2, 2]])
    )
    return detector.to(memory_format=torch.channels_last)


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def test_the_detector_comes_back(tmp_path: Path) -> None:
    source = small(scale=0.5)
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    save_weights(source, tmp_path / "best.safetensors", NAMES, epoch=7, fitness=0.25)
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]
    metadata = metadata_of(tmp_path / "best.safetensors")
    assert (metadata["format_version"], metadata["epoch"], metadata["fitness"]) == (FORMAT_VERSION, "7", "0.25")
    assert json.loads(metadata["class_names"]) == NAMES
    assert json.loads(metadata["detector"]) == describe(source)

    stored = load_file(tmp_path / "best.safetensors")
    exact = {"head.anchors"}
    assert {name for name, tensor in stored.items() if tensor.dtype == torch.float32} == exact
    assert {tensor.dtype for name, tensor in stored.items() if name not in exact} <= {torch.float16, torch.int64}

    detector, names = detector_from_weights(tmp_path / "best.safetensors")
    assert names == tuple(NAMES)
    assert describe(detector) == describe(source)
    expected = {**half_of(source), "head.anchors": before["head.anchors"]}
    state = detector.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    # nothing of the source changed, least of all its precision
    assert all(torch.equal(tensor, before[name]) for name, tensor in source.state_dict().items())


def test_it_is_a_start_for_other_classes(nano: Detector, tmp_path: Path) -> None:
    save_weights(nano, tmp_path / "w.safetensors", [str(index) for index in range(80)])
    with pytest.raises(InputError, match="nothing in"):
        load_weights(yolov5("s", 3), tmp_path / "w.safetensors")
    report = load_weights(yolov5("n", 3), tmp_path / "w.safetensors")
    assert (len(report.transferred), len(report.skipped)) == (343, 6)


def test_what_half_precision_cannot_hold_stays(tmp_path: Path) -> None:
    source = small()
    name, weight = next((key, value) for key, value in source.named_parameters() if value.ndim > 1)
    with torch.no_grad():
        weight[0] = 1e6
    save_weights(source, tmp_path / "w.safetensors", NAMES)
    assert torch.equal(load_file(tmp_path / "w.safetensors")[name], weight)


def test_an_older_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(small(), path, NAMES, epoch=1)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("yolo_lightning.models.saving.save_file", fail)
        with pytest.raises(OSError, match="no space"):
            save_weights(small(), path, NAMES, epoch=2)
        patch.undo()
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="no space"):
            save_weights(small(), path, NAMES, epoch=2)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before
    save_weights(small(), path, NAMES, epoch=2)
    assert metadata_of(path)["epoch"] == "2"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        save_weights(small(), tmp_path / "none" / "w.safetensors", NAMES)


def test_names_must_be_those_of_the_classes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 class names for a detector of 3 classes"):
        save_weights(small(), tmp_path / "w.safetensors", NAMES[:2])
    assert not list(tmp_path.iterdir())


def test_shared_tensors_are_written_twice(tmp_path: Path) -> None:
    source = small()
    source.head.m.extend([source.head.m[0]])
    source.head.m[-1].weight = nn.Parameter(source.head.m[0].weight)
    save_weights(source, tmp_path / "w.safetensors", NAMES)
    stored = load_file(tmp_path / "w.safetensors")
    assert torch.equal(stored["head.m.0.weight"], stored[f"head.m.{len(source.head.m) - 1}.weight"])


Damage = Callable[[dict[str, str]], dict[str, str]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda metadata: {**metadata, "format_version": "99"}, "format version 99, this library reads 1"),
        (lambda metadata: {**metadata, "class_names": "["}, "metadata .* damaged"),
        (lambda metadata: {**metadata, "detector": "[" * 100_000}, "metadata .* damaged"),
        (lambda metadata: {**metadata, "class_names": "7"}, "does not say its classes"),
        (lambda metadata: {**metadata, "class_names": '["a"]'}, "not those of the network"),
        (lambda metadata: {**metadata, "detector": "null"}, "does not say what its network is"),
        (
            lambda metadata: {**metadata, "detector": json.dumps({"class_path": "os.system", "init_args": {}})},
            "os.system is not a subclass",
        ),
        (lambda metadata: {}, "does not say what its network is"),
    ],
    ids=["newer", "cut", "deep", "no names", "fewer names", "no network", "hostile", "none"],
)
def test_damaged_metadata(damage: Damage, message: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(small(), path, NAMES)
    save_file(load_file(path), path, damage(metadata_of(path)))
    with pytest.raises(InputError, match=message) as error:
        detector_from_weights(path)
    assert "w.safetensors" in str(error.value)
