"""``yolo-lightning prune`` as a user runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.inference.conftest import tiny_detector
from tests.runs import CLASS_NAMES, write_shapes
from yolo_lightning.cli import main
from yolo_lightning.inference import load
from yolo_lightning.models import Detector, PrunedDetector, detector_from_weights, save_weights, yolov5
from yolo_lightning.tools.prune import prune


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_weights(tiny_detector(len(CLASS_NAMES)), tmp_path / "best.safetensors", CLASS_NAMES)
    return Path("best.safetensors")


@pytest.fixture
def library() -> None:
    pytest.importorskip("torch_pruning", reason="needs torch-pruning, of the extra `prune`")


def run(*arguments: str) -> int:
    return main(["prune", "best.safetensors", "--image-size=64", *arguments])


def figures(file: str = "report.json") -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(file).read_text())
    return content


@pytest.mark.usefixtures("library")
def test_channels(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = weights.read_bytes()
    assert run("--flops=0.2", "--report=report.json") == 0
    detector, names = detector_from_weights("best-pruned.safetensors")
    assert isinstance(detector, PrunedDetector)
    assert names == tuple(CLASS_NAMES)
    report = figures()
    first, second = report["before"], report["after"]
    assert (report["method"], report["amount"], report["image_size"]) == ("channels", 0.2, 64)
    assert report["output"] == "best-pruned.safetensors"
    assert second["gflops"] <= 0.8 * first["gflops"]
    assert first["parameters"] == sum(p.numel() for p in tiny_detector(len(CLASS_NAMES)).parameters())
    assert second["parameters"] == sum(p.numel() for p in detector.parameters()) < first["parameters"]
    assert second["file_bytes"] == Path("best-pruned.safetensors").stat().st_size < first["file_bytes"]
    for side in (first, second):
        assert 0 < side["latency_ms"] <= side["latency_p95_ms"]
        assert "map" not in side
    output = capsys.readouterr().out
    assert f"{second['parameters']:,d}" in output
    assert "fit --model.weights best-pruned.safetensors" in output
    assert weights.read_bytes() == before


def test_nothing_is_replaced() -> None:
    for name, sparsity in (("best-pruned", 0.1), ("best-pruned-2", 0.2)):
        assert run("--method=magnitude", f"--sparsity={sparsity}", "--report=report.json") == 0
        assert Path(f"{name}.safetensors").is_file()
    assert (figures()["output"], figures()["amount"]) == ("best-pruned.safetensors", 0.1)
    assert (figures("report-2.json")["output"], figures("report-2.json")["amount"]) == (
        "best-pruned-2.safetensors",
        0.2,
    )
    zeros = [figures(name)["after"]["zeros"] for name in ("report.json", "report-2.json")]
    assert zeros[0] < zeros[1]


@pytest.mark.usefixtures("library")
def test_what_detects_with_it() -> None:
    assert run("--output=small.safetensors") == 0
    predictor = load("small.safetensors", device="cpu")
    assert predictor.names == tuple(CLASS_NAMES)
    assert len(predictor(torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8).numpy(), size=64)) == 1
    other = load("small.safetensors", device="cpu", classes=2)
    assert isinstance(other.model, Detector)
    assert other.model.num_classes == 2


@pytest.mark.usefixtures("library")
def test_map_is_that_of_study(tmp_path: Path) -> None:
    write_shapes(tmp_path, train=2, val=4)
    data = ["--data=data.yaml", "--num-workers=0", "--device=cpu"]
    assert run("--report=report.json", *data) == 0
    files = ["best.safetensors", "best-pruned.safetensors"]
    assert main(["study", *files, "--sizes=[64]", *data]) == 0
    rows = (tmp_path / "runs/study/study.csv").read_text().splitlines()
    column = rows[0].split(",").index("map_50")
    assert [figures()[side]["map_50"] for side in ("before", "after")] == pytest.approx(
        [float(row.split(",")[column]) for row in rows[1:]]
    )


def test_magnitude(weights: Path) -> None:
    assert run("--method=magnitude", "--sparsity=0.4", "--report=report.json") == 0
    full, names = detector_from_weights(weights)
    sparse, other_names = detector_from_weights("best-pruned.safetensors")
    assert (type(sparse), names) == (Detector, other_names)
    zeros = 0
    for (name, module), other in zip(full.named_modules(), sparse.modules(), strict=True):
        if not isinstance(module, nn.Conv2d):
            continue
        gone = other.weight == 0
        assert int(gone.sum()) == pytest.approx(0.4 * gone.numel(), abs=1), name
        assert torch.equal(other.weight[~gone], module.weight[~gone]), name
        assert module.weight[gone].abs().max() <= module.weight[~gone].abs().min(), name
        zeros += int(gone.sum())
    first, second = figures()["before"], figures()["after"]
    for name in ("gflops", "parameters"):
        assert first[name] == second[name]
    biases = sum(int((p == 0).sum()) for p in sparse.parameters() if p.ndim == 1)
    assert second["zeros"] == pytest.approx((zeros + biases) / second["parameters"])


@pytest.mark.usefixtures("library")
def test_a_side_that_does_not_suit_the_network() -> None:
    assert run("--image-size=70", "--report=report.json") == 0
    assert figures()["image_size"] == 96


@pytest.mark.usefixtures("library")
def test_a_published_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes into the cache when it is downloaded, and what is made of it stays here."""
    save_weights(yolov5("n", 2), tmp_path / "stored.safetensors", ["a", "b"])
    cache = tmp_path / "cache"
    cache.mkdir()
    (tmp_path / "stored.safetensors").rename(cache / "yolov5n.pt")
    monkeypatch.setattr("yolo_lightning.models.resolve_weights", lambda _: cache / "yolov5n.pt")
    assert main(["prune", "yolov5n.pt", "--image-size=64"]) == 0
    assert Path("yolov5n-pruned.safetensors").is_file()
    assert [path.name for path in cache.iterdir()] == ["yolov5n.pt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--flops=0"], "flops is 0.0; a share to remove is above 0 and below 1"),
        (["--flops=1"], "flops is 1.0"),
        (["--flops=-0.1"], "flops is -0.1"),
        (["--flops=.nan"], "flops is nan"),
        (["--method=magnitude", "--sparsity=1.5"], "sparsity is 1.5"),
        (
            ["--method=magnitude", "--flops=0.3"],
            "--flops is for --method channels; --method magnitude takes --sparsity",
        ),
        (["--sparsity=0.3"], "--sparsity is for --method magnitude"),
        (["--image-size=0"], "image_size is 0"),
        (["--output=best.ckpt"], "best.ckpt: the pruned network is written as safetensors"),
        (["--output=nowhere/best.safetensors"], "there is no directory nowhere"),
        (["--report=nowhere/report.json"], "there is no directory nowhere"),
        (["--data=nowhere.yaml"], "nowhere.yaml"),
        (["--data=data.yaml"], "the network has 5 classes, but the data has 6"),
        (["--data=data.yaml", "--device=nowhere"], "device nowhere cannot be used"),
    ],
)
def test_what_cannot_be(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "--data=data.yaml" in arguments:
        write_shapes(tmp_path, train=1, val=1, names=["a", "b", "c", "d", "e", "f"])
    before = sorted(tmp_path.iterdir())
    assert run(*arguments) == 1
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("library")
def test_as_much_as_cannot_be_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--flops=0.99") == 1
    assert "99% of the FLOPs cannot be removed" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]


def test_without_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    assert run() == 1
    assert "pip install 'yolo-lightning[prune]'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]


def test_a_file_that_does_not_say_its_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "plain.pt")
    assert main(["prune", "plain.pt"]) == 1
    assert "it does not say what its network is" in capsys.readouterr().err
    assert main(["prune", "missing.pt"]) == 1
    assert "missing.pt" in capsys.readouterr().err


def test_unknown_method(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="method is 'random': use channels or magnitude"):
        prune("best.safetensors", method="random")  # type: ignore[arg-type]
    with pytest.raises(SystemExit):
        run("--method=random")
    assert "method" in capsys.readouterr().err


def test_nothing_is_left_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("yolo_lightning.models.saving.save_file", full)
    assert run("--method=magnitude") == 1
    assert "best-pruned.safetensors: cannot be written (No space left on device)" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]
