"""``yolo-lightning benchmark`` as a user runs it."""

from __future__ import annotations

import csv
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml

from tests.runs import CLASS_NAMES, check_run, command, environment, figures, tiny_config, write_shapes
from tests.tools.networks import write_network
from yolo_lightning.cli import main

LIBRARIES = {"onnx": "onnxruntime", "openvino": "openvino", "executorch": "executorch", "litert": "litert_torch"}
QUICK = ["--device=cpu", "--size=64", "--batch-size=3", "--seconds=0.01", "--num-workers=0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, and networks of strides up to 32 and 64."""
    root = tmp_path_factory.mktemp("benchmark")
    write_shapes(root, train=4, val=5)
    for name, levels in (("p5", "P5"), ("p6", "P6")):
        write_network(root / f"{name}.safetensors", levels, CLASS_NAMES)
    return root


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(directory: Path, name: str = "benchmark.csv") -> list[dict[str, str]]:
    with (directory / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_measured(row: dict[str, str], batch_size: int = 3) -> None:
    assert not row["error"]
    assert 0 < float(row["latency_p50_ms"]) <= float(row["latency_p95_ms"])
    assert 0 < float(row["batch_p50_ms"]) <= float(row["batch_p95_ms"])
    assert int(row["latency_calls"]) >= 12
    assert float(row["images_per_second"]) == pytest.approx(1000 * batch_size / float(row["batch_p50_ms"]))
    assert float(row["file_mb"]) > 0
    assert float(row["prepare_s"]) > 0


def test_networks_in_pytorch(folder: Path, capsys: pytest.CaptureFixture[str]):
    weights = [str(folder / f"{name}.safetensors") for name in ("p5", "p6")]
    threads = torch.get_num_threads()
    assert main(["benchmark", *weights, "--candidates=[eager,eager-bf16]", "--threads=1", *QUICK]) == 0
    assert torch.get_num_threads() == threads
    run = Path("runs/benchmark")
    measured = rows(run)
    assert [(Path(row["weights"]).stem, row["candidate"]) for row in measured] == [
        (network, candidate) for network in ("p5", "p6") for candidate in ("eager", "eager-bf16")
    ]
    for row in measured:
        check_measured(row)
        assert (row["device"], row["threads"], row["height"], row["width"]) == ("cpu", "1", "64", "64")
        assert float(row["file_mb"]) == Path(row["weights"]).stat().st_size / 1e6
        assert not row["map"]
    assert {path.name for path in run.iterdir()} == {"benchmark.csv", "benchmark.png"}
    output = capsys.readouterr().out
    assert "64×64 pixels, cpu, 1 thread" in output
    assert "images/s at 3" in output
    assert "mAP" not in output


def test_map_is_that_of_validate(folder: Path, capsys: pytest.CaptureFixture[str]):
    weights = str(folder / "p5.safetensors")
    data = [f"--data={folder}/data.yaml", "--confidence-threshold=1e-5"]
    assert main(["benchmark", weights, "--candidates=[eager,eager-bf16]", *data, *QUICK]) == 0
    row, other = rows(Path("runs/benchmark"))
    Path("tiny.yaml").write_text(yaml.safe_dump(tiny_config(folder / "data.yaml")))
    options = ["--data.rectangular=false", "--data.eval_batch_size=3", f"--model.weights={weights}"]
    assert main(["validate", "--config=tiny.yaml", *options]) == 0
    validated = figures(Path("runs/validate"))
    for name, theirs in {"map": "yolov5_map", "map_50": "yolov5_map_50", "precision": "precision"}.items():
        assert float(row[name]) == pytest.approx(validated[f"val/{theirs}"], rel=1e-3, abs=1e-6), name
        assert 0 <= float(other[name]) <= 1
    assert "val of" in capsys.readouterr().out


def test_a_candidate_that_cannot_run(folder: Path, capsys: pytest.CaptureFixture[str]):
    given = ["benchmark", str(folder / "p5.safetensors"), "--candidates=[eager-fp16,eager]", *QUICK]
    assert main(given) == 0
    failed, good = rows(Path("runs/benchmark"))
    assert failed["error"] == "float16 needs a GPU"
    assert not failed["latency_p50_ms"]
    check_measured(good)
    assert "p5 eager-fp16: cannot run: float16 needs a GPU" in capsys.readouterr().out
    assert main([*given, "--hard-fail"]) == 1


def test_a_compiler_that_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("No working C++ compiler found\nat all")

    monkeypatch.setattr("yolo_lightning.tools.benchmark_candidates.compile_detector", fail)
    assert main(["benchmark", str(folder / "p5.safetensors"), "--candidates=[compiled,eager]", *QUICK]) == 0
    failed, good = rows(Path("runs/benchmark"))
    assert failed["error"] == "No working C++ compiler found"
    check_measured(good)


@pytest.mark.parametrize(("floor", "status"), [("-0.1", 0), ("0.99", 1)])
def test_a_floor_of_map(folder: Path, floor: str, status: int, capsys: pytest.CaptureFixture[str]):
    given = ["benchmark", str(folder / "p5.safetensors"), "--candidates=[eager]", f"--data={folder}/data.yaml", *QUICK]
    assert main([*given, "--hard-fail", f"--floor={floor}"]) == status
    assert ("is not above 0.99" in capsys.readouterr().out) == bool(status)


def test_profile_alone(folder: Path, capsys: pytest.CaptureFixture[str]):
    given = ["benchmark", str(folder / "p5.safetensors"), "--profile", "--profile-depth=1", "--candidates=[]", *QUICK]
    assert main(given) == 0
    layers = rows(Path("runs/benchmark"), "profile.csv")
    assert [layer["layer"] for layer in layers] == ["", "backbone", "neck", "head"]
    assert all(float(layer["ms"]) > 0 and float(layer["fused_ms"]) > 0 for layer in layers)
    assert {path.name for path in Path("runs/benchmark").iterdir()} == {"profile.csv"}
    output = capsys.readouterr().out
    assert "GFLOPs" in output
    assert f"{int(layers[0]['parameters']):,}" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.pt"], "missing.pt"),
        (["{p5}", "missing.ckpt"], "missing.ckpt"),
        (["{p5}", "--candidates=[eager,onix]"], "there is no candidate 'onix': use eager, "),
        (["{p5}", "--candidates=[]"], "candidates is empty"),
        (["{p5}", "--size=70"], "multiples of 32, not 70×70: use --size [96,96]"),
        (["{p6}", "--size=[64,96]"], "multiples of 64, not 64×96: use --size [64,128]"),
        (["{p5}", "--size=0"], "size has 0; it must be positive"),
        (["{p5}", "--batch-size=0"], "batch_size has 0"),
        (["{p5}", "--seconds=-1"], "seconds has -1"),
        (["{p5}", "--threads=0"], "threads has 0"),
        (["{p5}", "--profile-depth=0"], "profile_depth has 0"),
        (["{p5}", "--device=nowhere"], "device nowhere cannot be used"),
        (["{p5}", "--data=nowhere.yaml"], "nowhere.yaml"),
        (["{p5}", "--data={data}", "--iou-threshold=2"], "iou_threshold is 2"),
        (["{p5}", "--floor=0.3"], "give --hard-fail and --data"),
        (["two.safetensors", "--data={data}"], "two.safetensors: the network has 2 classes, but the data has 5"),
        (["{p5}", "--name=a/b"], "run name 'a/b'"),
    ],
)
def test_what_cannot_be(folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    write_network(Path("two.safetensors"), "P5", ["a", "b"])
    names = {name: folder / f"{name}.safetensors" for name in ("p5", "p6")}
    given = [argument.format(**names, data=folder / "data.yaml") for argument in arguments]
    assert main(["benchmark", *QUICK, *given]) == 1
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.slow
def test_all_that_there_is(folder: Path, tmp_path: Path):
    """A runtime that is not installed says so; the others find the same as the network itself."""
    data = [f"--data={folder}/data.yaml", "--confidence-threshold=1e-5"]
    process = check_run("benchmark", folder / "p5.safetensors", *data, *QUICK, cwd=tmp_path)
    measured = {row["candidate"]: row for row in rows(tmp_path / "runs/benchmark")}
    exported = {"torchscript", "torch_export", "onnx", "onnx-int8", "openvino", "openvino-bf16", "openvino-int8"}
    exported |= {"aotinductor", "executorch", "litert"}
    assert set(measured) == {"eager", "eager-bf16", "compiled", "compiled-bf16", *exported}
    for name, row in measured.items():
        library = LIBRARIES.get(name.partition("-")[0], "torch")
        if find_spec(library) is None:
            assert library in row["error"].replace("-", "_")
            continue
        check_measured(row)
        if not name.endswith(("-bf16", "-int8")):
            assert float(row["map"]) == pytest.approx(float(measured["eager"]["map"]), abs=2e-3), name
    assert f"{len(measured)} rows in" in process.stdout
    assert {path.name for path in (tmp_path / "runs/benchmark").iterdir()} == {"benchmark.csv", "benchmark.png"}


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_measured(folder: Path, tmp_path: Path):
    weights = [folder / f"{name}.safetensors" for name in ("p5", "p6")]
    given = ["benchmark", *weights, "--candidates=[eager,eager-bf16]", "--device=cpu", "--size=64", "--batch-size=2"]
    process = subprocess.Popen(
        command(*given, "--seconds=3"), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        while "p6 eager: ready" not in (line := process.stdout.readline()):
            assert line
        process.send_signal(signal.SIGINT)  # the first network is done
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, output
    measured = [row for row in rows(tmp_path / "runs/benchmark") if row["latency_p50_ms"]]
    assert [Path(row["weights"]).stem for row in measured][:2] == ["p5", "p5"]
    for row in measured[:2]:
        check_measured(row, 2)
    assert (tmp_path / "runs/benchmark/benchmark.png").is_file()
    assert "rows in" in output
