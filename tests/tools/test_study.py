"""``yolo-lightning study`` as a user runs it."""

from __future__ import annotations

import csv
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.runs import CLASS_NAMES, command, environment, figures, tiny_config, write_shapes
from tests.tools.networks import write_network
from yolo_lightning.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, and networks of strides up to 32 and 64."""
    root = tmp_path_factory.mktemp("study")
    write_shapes(root, train=3, val=5)
    for name, levels in (("p5", "P5"), ("p6", "P6")):
        write_network(root / f"{name}.safetensors", levels, CLASS_NAMES)
    return root


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def study(folder: Path, *arguments: str) -> int:
    fast = ["--device=cpu", "--num-workers=0", "--batch-size=4", "--confidence-threshold=1e-5"]
    return main(["study", f"--data={folder}/data.yaml", *fast, *arguments])


def rows(directory: Path) -> list[dict[str, str]]:
    with (directory / "study.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_networks_at_sizes(folder: Path, capsys: pytest.CaptureFixture[str]):
    weights = [str(folder / f"{name}.safetensors") for name in ("p5", "p6")]
    assert study(folder, *weights, weights[0], "--sizes=[96,64]") == 0
    run = Path("runs/study")
    measured = rows(run)
    assert [(Path(row["weights"]).stem, int(row["image_size"])) for row in measured] == [
        ("p5", 64),
        ("p5", 96),
        ("p6", 64),
        ("p6", 128),
    ]
    for row in measured:
        times = [float(row[f"{stage}_ms"]) for stage in ("preprocess", "inference", "postprocess")]
        assert min(times) > 0
        assert float(row["total_ms"]) == pytest.approx(sum(times))
    assert {path.name for path in run.iterdir()} == {"study.csv", "study.png"}
    assert (run / "study.png").read_bytes().startswith(b"\x89PNG")
    output = capsys.readouterr().out
    assert "p6: sides are multiples of 64: 96 is 128\n" in output
    table = [line.split() for line in output.splitlines() if line.startswith("  p")]
    assert [line[:2] for line in table] == [["p5", "64"], ["p5", "96"], ["p6", "64"], ["p6", "128"]]
    assert [line[5] for line in table] == [f"{float(row['map']):.3f}" for row in measured]
    assert not Path("speed.json").exists()


def test_figures_are_those_of_validate(folder: Path):
    weights = str(folder / "p5.safetensors")
    assert study(folder, weights, "--sizes=[64]", "--split=train") == 0
    (row,) = rows(Path("runs/study"))
    Path("tiny.yaml").write_text(yaml.safe_dump(tiny_config(folder / "data.yaml")))
    options = ["--data.validate_split=train", "--data.eval_batch_size=4", f"--model.weights={weights}"]
    assert main(["validate", "--config=tiny.yaml", *options]) == 0
    validated = figures(Path("runs/validate"))
    names = {"map": "yolov5_map", "map_50": "yolov5_map_50"}
    for name in ("precision", "recall", "map", "map_50", "loss_box", "loss_objectness", "loss_classification"):
        assert float(row[name]) == pytest.approx(validated[f"val/{names.get(name, name)}"], rel=1e-5), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.pt"], "missing.pt"),
        (["{p5}", "missing.ckpt"], "missing.ckpt"),
        (["{p5}", "--sizes=[]"], "sizes is empty"),
        (["{p5}", "--sizes=[64,0]"], "sizes has 0; it must be positive"),
        (["{p5}", "--batch-size=0"], "batch_size has 0"),
        (["{p5}", "--iou-threshold=2"], "iou_threshold is 2"),
        (["{p5}", "--precision=float16"], "float16 needs a GPU"),
        (["{p5}", "--device=nowhere"], "device nowhere cannot be used"),
        (["{p5}", "--data=nowhere.yaml"], "nowhere.yaml"),
        (["{p5}", "two.safetensors"], "two.safetensors: the network has 2 classes, but the data has 5"),
        (["{p5}", "--name=a/b"], "run name 'a/b'"),
    ],
)
def test_what_cannot_be(folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    write_network(Path("two.safetensors"), "P5", ["a", "b"])
    given = [argument.format(p5=folder / "p5.safetensors") for argument in arguments]
    assert study(folder, *given) == 1
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_split_that_is_missing(folder: Path, capsys: pytest.CaptureFixture[str]):
    data = yaml.safe_load((folder / "data.yaml").read_text())
    del data["test"]
    Path("data.yaml").write_text(yaml.safe_dump({**data, "path": str(folder)}))
    assert study(folder, str(folder / "p5.safetensors"), "--data=data.yaml", "--split=test") == 1
    assert "data.yaml" in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_measured(folder: Path, tmp_path: Path):
    sizes = ",".join(str(32 * number) for number in range(2, 200))
    given = ["study", folder / "p5.safetensors", f"--data={folder}/data.yaml", f"--sizes=[{sizes}]", "--device=cpu"]
    process = subprocess.Popen(
        command(*given, "--num-workers=0"), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        while " 96: mAP50-95" not in (line := process.stdout.readline()):
            assert line
        time.sleep(0.1)  # into the next evaluation
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, output
    measured = rows(tmp_path / "runs/study")
    assert len(measured) >= 2
    assert [int(row["image_size"]) for row in measured] == [32 * number for number in range(2, len(measured) + 2)]
    assert (tmp_path / "runs/study/study.png").is_file()
    assert f"{len(measured)} rows in" in output
