"""Contracts are read back as they were written, and what is none is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from yolo_lightning.errors import InputError
from yolo_lightning.runtimes import Contract, load_exported
from yolo_lightning.runtimes.contract import Input, Letterboxing, Library, Output, Suppression, Thresholds

CONTRACT = Contract(
    runtime="onnx",
    precision="float32",
    class_names=("cat", "Ä 'quoted' \"dog\""),
    strides=(8, 16, 32),
    input=Input("images", "float32", "NCHW", "RGB", 3, None, 64, 96, 32),
    letterbox=Letterboxing(114),
    output=Output("detections", "detections"),
    thresholds=Thresholds(),
    suppression=Suppression(0.1, 0.5, 20, operator="onnx"),
    tolerance=0.5,
    libraries=(Library("torch", "2"),),
)


def test_written_and_read(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"x")
    written = CONTRACT.write(tmp_path / "a.onnx.json", {"a.onnx": file})
    assert Contract.read(tmp_path / "a.onnx.json") == written
    assert written.files[0].name == "a.onnx"
    assert Contract.from_text(CONTRACT.to_json(), "here") == CONTRACT
    unbounded = replace(CONTRACT, tolerance=None)
    assert Contract.from_text(unbounded.to_json(), "here") == unbounded


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "no contract of an export"),
        ({"version": 99}, "version 99"),
        ({"strides": "8"}, "strides is '8'"),
        ({"precision": "int4"}, "precision"),
        ({"input": None}, "input is None"),
        ({"more": 1}, "more is unknown"),
        ({"files": [{"name": "../b.onnx", "sha256": "0"}]}, "no plain name"),
        ({"files": [{"name": "b.onnx", "sha256": "0"}]}, "b.onnx: is missing"),
        ({"files": [{"name": "a.onnx", "sha256": "0"}]}, "a.onnx: is not the file"),
    ],
)
def test_what_is_no_contract(change: dict[str, object], message: str, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"x")
    path = tmp_path / "a.onnx.json"
    path.write_text(json.dumps({**json.loads(CONTRACT.to_json()), **change}))
    with pytest.raises(InputError, match=message) as caught:
        load_exported(tmp_path / "a.onnx")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b"{}"])
def test_damaged_contracts(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"x")
    (tmp_path / "a.onnx.json").write_bytes(content)
    with pytest.raises(InputError, match="the contract cannot be read"):
        load_exported(tmp_path / "a.onnx")


def test_files_of_other_kinds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_exported(tmp_path / "a.onnx")
    with pytest.raises(InputError, match=r"must end in one of .*\.onnx"):
        load_exported(tmp_path / "a.txt")
    (tmp_path / "a.pt2").write_bytes(b"x")
    with pytest.raises(InputError, match=r"a\.pt2: it is no program"):
        load_exported(tmp_path / "a.pt2")
    CONTRACT.write(tmp_path / "a.pt2.json", {"a.pt2": tmp_path / "a.pt2"})
    with pytest.raises(InputError, match="is of a file for onnx, not for torch_export"):
        load_exported(tmp_path / "a.pt2")
    (tmp_path / "a_openvino_model").mkdir()
    with pytest.raises(InputError, match="has no contract"):
        load_exported(tmp_path / "a_openvino_model")
