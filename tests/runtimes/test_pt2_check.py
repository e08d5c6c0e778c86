"""Programs that hold more than a network are not opened, and nothing in them is run."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yolo_lightning.errors import InputError
from yolo_lightning.runtimes.pt2_check import check_program


class Network(nn.Module):
    """Has weights, a buffer and sizes that vary."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, 2, 1)
        self.register_buffer("scale", torch.ones(4))

    def forward(self, images: Tensor) -> Tensor:
        return (self.convolution(images) * self.scale[:, None, None]).flatten(2)


@pytest.fixture(scope="module")
def program() -> bytes:
    cells = torch.export.Dim("cells", min=1)
    exported = torch.export.export(Network(), (torch.rand(2, 3, 64, 64),), dynamic_shapes=({2: 32 * cells},))
    exported.example_inputs = None
    file = io.BytesIO()
    torch.export.save(exported, file)
    return file.getvalue()


def changed(program: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """The archive with a member changed, or made."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(program)) as source, zipfile.ZipFile(file, "w") as target:
        names = source.namelist()
        root = names[0].split("/")[0]
        for member in names:
            content = source.read(member)
            target.writestr(member, change(content) if member == f"{root}/{name}" else content)
        if f"{root}/{name}" not in names:
            target.writestr(f"{root}/{name}", change(b""))
    return file.getvalue()


def test_a_network_passes(program: bytes) -> None:
    check_program(program)


class Harm:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def edit(key: str, value: Any) -> Callable[[bytes], bytes]:
    """Sets the first value of a key, however deep it lies."""

    def change(content: bytes) -> bytes:
        parsed = json.loads(content)
        waiting = [parsed]
        while waiting:
            item = waiting.pop(0)
            if isinstance(item, dict):
                if key in item:
                    item[key] = value
                    break
                waiting += item.values()
            elif isinstance(item, list):
                waiting += item
        else:
            raise AssertionError(f"no {key}")
        return json.dumps(parsed).encode()

    return change


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("models/model.json", "target", "torch.load"),
        ("models/model.json", "target", "torch.ops.aten.__init__.__globals__"),
        ("models/model.json", "target", "_operator.methodcaller"),
        ("models/model.json", "expr_str", "__import__('os').system('true')"),
        ("models/model.json", "guards_code", ["__import__('os').system('true')"]),
        ("models/model.json", "range_constraints", {"__import__('os')": {"min_val": 1, "max_val": 2}}),
        ("data/weights/model_weights_config.json", "use_pickle", True),
    ],
)
def test_graphs_that_call_or_evaluate_something(program: bytes, name: str, key: str, value: Any) -> None:
    with pytest.raises(InputError, match=key):
        check_program(changed(program, name, edit(key, value)))


@pytest.mark.parametrize(
    "name",
    [
        "data/sample_inputs/model.pt",
        "data/constants/opaque_obj_0",
        "data/constants/custom_obj_0",
        "data/aotinductor/model/a.so",
        "extra/../../a",
    ],
)
def test_archives_with_more_in_them(program: bytes, name: str, tmp_path: Path) -> None:
    harm = pickle.dumps(Harm(tmp_path / "harm"))
    with pytest.raises(InputError, match="it holds"):
        check_program(changed(program, name, lambda _: harm))
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 1000])
def test_damaged_files(content: bytes) -> None:
    with pytest.raises(InputError, match=r"no program of torch\.export, or is damaged"):
        check_program(content)
