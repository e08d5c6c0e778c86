"""What can be tried of TensorRT without a GPU, and the rest where there is one."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.export.conftest import IMAGES, calm_detector, export
from yolo_lightning.errors import InputError
from yolo_lightning.export import ExportOptions, export_network, onnx, tensorrt
from yolo_lightning.export.onnx_int8 import quantize
from yolo_lightning.export.options import Job
from yolo_lightning.runtimes import load_exported
from yolo_lightning.runtimes.contract import Contract, contract_path

pytestmark = pytest.mark.usefixtures("one_thread")

HAS_GPU = torch.cuda.is_available() and importlib.util.find_spec("tensorrt") is not None


def job_of(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Job:
    """What the format is given to write."""
    jobs: list[Job] = []
    monkeypatch.setattr(tensorrt, "libraries", lambda: [])
    monkeypatch.setattr(tensorrt, "write", lambda job, path: jobs.append(job) or path.write_bytes(b""))
    monkeypatch.setattr("yolo_lightning.export.options.Format.load", lambda kind, path: None)

    def calibration() -> Iterator[np.ndarray]:
        yield IMAGES.numpy()

    settings = ExportOptions(image_size=(64, 96), batch_size=2, **options)
    images = torch.zeros(2, 3, 64, 96, dtype=torch.uint8)
    path = folder / "tiny.engine"
    export_network(calm_detector(), "abc", "tensorrt", path, settings, images=images, calibration=calibration)
    return jobs[0]


@pytest.mark.skipif(not HAS_GPU, reason="needs an NVIDIA GPU and TensorRT")
@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"dynamic": True}, {"half": True}, {"nms": True}, {"preprocess": True}])
def test_the_engine_passes_the_gate(options: dict[str, bool], tmp_path: Path) -> None:
    settings = ExportOptions(image_size=(64, 64), batch_size=2, **options)
    path = tmp_path / "tiny.engine"
    made = export_network(calm_detector(), "abc", "tensorrt", path, settings, images=IMAGES)
    assert made.difference is not None


def test_missing_library_and_missing_gpu_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(InputError, match=r"tensorrt is needed .*yolo-lightning\[tensorrt\]"):
        export("tensorrt", tmp_path)
    monkeypatch.setitem(sys.modules, "tensorrt", types.ModuleType("tensorrt"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="on the NVIDIA GPU that it is for, and there is none here"):
        export("tensorrt", tmp_path)
    assert not list(tmp_path.iterdir())


def test_shapes_of_a_dynamic_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(tmp_path, monkeypatch, dynamic=True)
    assert tensorrt.shapes(job) == ((1, 3, 32, 32), (2, 3, 64, 96), (16, 3, 128, 192))
    assert job.contract.input.batch is None
    with pytest.raises(InputError, match=r"NVIDIA GPU|tensorrt is needed"):
        load_exported(tmp_path / "tiny.engine", "cpu")


def test_what_the_parser_does_not_know_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Error:
        def desc(self) -> str:
            return "no importer for NewOperator"

    class Parser:
        num_errors = 1

        def __init__(self, network: object, logger: object) -> None: ...

        def parse(self, content: bytes) -> bool:
            return False

        def get_error(self, index: int) -> Error:
            return Error()

    logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
    builder = type("Builder", (), {"__init__": lambda self, logger: None, "create_network": lambda self, flags: None})
    library = types.SimpleNamespace(
        Logger=logger, Builder=builder, OnnxParser=Parser, NetworkDefinitionCreationFlag=types.SimpleNamespace()
    )
    with pytest.raises(InputError, match="no importer for NewOperator"):
        tensorrt.build(library, b"", job_of(tmp_path, monkeypatch))


@pytest.mark.slow
def test_int8_is_as_tensorrt_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx as library
    import onnxruntime

    job = replace(
        job_of(tmp_path, monkeypatch, int8=True),
        calibration=lambda: iter([np.random.default_rng(0).random((2, 3, 64, 96), np.float32)]),
    )
    plain, path = tmp_path / "plain.onnx", tmp_path / "int8.onnx"
    onnx.write(replace(job, options=replace(job.options, int8=False)), plain)
    quantize(plain, path, job, symmetric=True)
    model = library.load(path)
    values = {each.name: library.numpy_helper.to_array(each) for each in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(nodes) > 100
    points = [values[node.input[2]] for node in nodes if len(node.input) > 2]
    assert all(point.dtype == np.int8 and not point.any() for point in points)
    session = onnxruntime.InferenceSession(path)
    (rows,) = session.run(None, {"images": job.example.numpy()})
    with torch.inference_mode():
        wanted = job.network(job.example).numpy()
    assert rows.shape == wanted.shape
    assert np.abs(rows[..., 4:] - wanted[..., 4:]).mean() < 0.05


def test_the_contract_says_which_operator_suppresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job_of(tmp_path, monkeypatch, nms=True)
    contract = Contract.read(contract_path(tmp_path / "tiny.engine"))
    assert contract.suppression is not None
    assert contract.suppression.operator == "tensorrt"
