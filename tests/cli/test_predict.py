"""``yolo-lightning predict``: a data set, or plain images, on any number of processes."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.conftest import ROOT
from tests.runs import CLASS_NAMES, check_run, environment, figures, run, tiny_config, write_shapes
from yolo_lightning.cli import main
from yolo_lightning.data import YOLODataset

TWO = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
THREE = ["--trainer.accelerator=cpu", "--trainer.devices=3", "--trainer.strategy=ddp"]
ALL_FORMATS = "--predictions.formats=[coco,csv,parquet]"
FILES = {"config.yaml", "images.csv", "images.json", "predictions.json", "predictions.csv"}


@pytest.fixture(scope="session")
def trained(shapes: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The best checkpoint of a tiny network, which finds something everywhere."""
    folder = tmp_path_factory.mktemp("trained")
    check_run("fit", f"--config={config}", "--trainer.max_epochs=2", cwd=folder)
    return folder / "runs" / "fit" / "checkpoints" / "best.ckpt"


@pytest.fixture
def options(config: Path, trained: Path) -> list[str]:
    return [f"--config={config}", f"--ckpt_path={trained}", "--data.eval_batch_size=2"]


def read_csv(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def contents(directory: Path) -> dict[str, bytes]:
    """What predict wrote, but for the configuration, which names the run."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "config.yaml"}


def statuses(directory: Path) -> dict[str, str]:
    return {Path(row["image"]).name: row["status"] for row in read_csv(directory / "images.csv")}


def test_a_split(options: list[str], shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    before = {path: path.read_bytes() for path in shapes.parent.rglob("*") if path.is_file()}
    assert main(["predict", *options]) == 0
    run_directory = tmp_path / "runs" / "predict"
    assert {path.name for path in run_directory.iterdir()} == FILES
    listed = read_csv(run_directory / "images.csv")
    assert [row["image"] for row in listed] == [str(shapes.parent / f"images/val/{n:03}.png") for n in range(5)]
    assert [row["image_id"] for row in listed] == ["0", "1", "2", "3", "4"]
    rows = read_csv(run_directory / "predictions.csv")
    records = json.loads((run_directory / "predictions.json").read_text())
    assert len(rows) == len(records) == sum(int(row["num_detections"]) for row in listed) > 0
    assert {row["name"] for row in rows} <= set(CLASS_NAMES)
    assert all(0 <= float(row["x1"]) <= float(row["x2"]) <= 64 for row in rows)
    messages = capsys.readouterr().err
    assert f"{len(rows)} detections in 5 images" in messages
    assert "custom batch sampler" not in messages
    assert {path: path.read_bytes() for path in shapes.parent.rglob("*") if path.is_file()} == before

    assert main(["predict", *options, "--data.predict_split=train", "--predictions.formats=[csv]"]) == 0
    second = tmp_path / "runs" / "predict-2"
    assert {path.name for path in second.iterdir()} == {"config.yaml", "images.csv", "predictions.csv"}
    assert len(statuses(second)) == 12


def test_plain_images(options: list[str], shapes: Path, trained: Path, tmp_path: Path):
    """The same as of the split, with the names of the checkpoint, or of weights that hold them."""
    assert main(["predict", *options, "--name=split"]) == 0
    images = shapes.parent / "images" / "val"
    assert main(["predict", *options, f"--data.path={images}", "--name=folder"]) == 0
    (tmp_path / "list.txt").write_text("".join(f"{image}\n" for image in sorted(images.iterdir())))
    assert main(["predict", *options, "--data.path=list.txt", "--name=list"]) == 0
    runs = tmp_path / "runs"
    assert contents(runs / "split") == contents(runs / "folder") == contents(runs / "list")

    weights = trained.with_suffix(".safetensors")  # in half precision
    with_weights = ["predict", options[0], f"--data.path={images}", f"--model.weights={weights}"]
    assert main([*with_weights, "--name=weights"]) == 0
    assert {row["name"] for row in read_csv(runs / "weights" / "predictions.csv")} <= set(CLASS_NAMES)
    described = json.loads((runs / "weights" / "images.json").read_text())
    assert [category["name"] for category in described["categories"]] == CLASS_NAMES


def test_images_without_labels(options: list[str], shapes: Path, tmp_path: Path):
    """And one whose labels are bad."""
    data = shutil.copytree(shapes.parent, tmp_path / "copy") / "data.yaml"
    shutil.rmtree(tmp_path / "copy" / "labels" / "test")
    (tmp_path / "copy" / "labels" / "val" / "001.txt").write_text("77 0.5 0.5 0.2 0.2\n")
    assert main(["predict", *options, f"--data.path={data}", "--data.predict_split=test", "--name=test"]) == 0
    assert main(["predict", *options, f"--data.path={data}", "--name=val"]) == 0
    for name in ("test", "val"):
        assert set(statuses(tmp_path / "runs" / name).values()) == {"predicted"}


def test_unreadable_images(options: list[str], shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Are named, listed, and told by the exit status; the others are predicted."""
    images = shutil.copytree(shapes.parent / "images" / "val", tmp_path / "copy")
    whole = (images / "003.png").read_bytes()
    (images / "003.png").write_bytes(whole[: len(whole) // 2])
    (images / "text.jpg").write_text("no image")
    assert main(["predict", *options, f"--data.path={images}"]) == 1
    messages = capsys.readouterr().err
    assert "error: 2 images could not be read" in messages
    assert "003.png" in messages
    assert "Traceback" not in messages
    run_directory = tmp_path / "runs" / "predict"
    assert {path.name for path in run_directory.iterdir()} == FILES
    found = statuses(run_directory)
    assert [name for name, status in found.items() if status != "predicted"] == ["003.png", "text.jpg"]
    assert len(found) == 6
    assert {record["image_id"] for record in json.loads((run_directory / "predictions.json").read_text())} <= {
        0, 1, 2, 4,
    }  # fmt: skip


def test_nothing_found(options: list[str], tmp_path: Path):
    assert main(["predict", *options, "--model.postprocess.confidence_threshold=1"]) == 0
    run_directory = tmp_path / "runs" / "predict"
    assert json.loads((run_directory / "predictions.json").read_text()) == []
    assert read_csv(run_directory / "predictions.csv") == []
    assert [row["num_detections"] for row in read_csv(run_directory / "images.csv")] == ["0"] * 5


def test_untrained_weights_are_warned_of(config: Path, tmp_path: Path):
    with pytest.warns(UserWarning, match=r"not trained: give --ckpt_path or --model\.weights"):
        assert main(["predict", f"--config={config}"]) == 0


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--data.path=none"], ["none: does not exist"]),
        (["--data.path=empty"], ["empty: holds no images"]),
        (["--data.path=null"], ["data.path"]),
        (["--ckpt_path=none.ckpt"], ["there is no file none.ckpt"]),
        (["--ckpt_path=null", "--data.path=images"], ["images", "--ckpt_path", "--model.class_names"]),
        (["--predictions.formats=[parquet]", "--data.path=other.yaml"], ["5 classes", "the data has 2"]),
    ],
)
def test_bad_input(
    arguments: list[str],
    wanted: list[str],
    options: list[str],
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "images").symlink_to(shapes.parent / "images" / "val")
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"val": "images", "names": ["a", "b"]}))
    assert main(["predict", *options, *arguments]) == 1
    message = capsys.readouterr().err
    final = message[message.index("error: ") :]
    assert [part for part in wanted if part not in final] == []
    assert not {path.name for path in tmp_path.glob("runs/predict/*")} - {"config.yaml"}


def test_unknown_options(options: list[str], capsys: pytest.CaptureFixture[str]):
    for option in ("--predictions.formats=[xml]", "--data.predict_split=all", "--return_predictions=true"):
        with pytest.raises(SystemExit) as stopped:
            main(["predict", *options, option])
        assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("num_images", [5, 1])
def test_processes_write_what_one_writes(num_images: int, trained: Path, tmp_path: Path):
    """To the last byte: five images in three batches, and one, so that other processes have none."""
    config = tiny_config(write_shapes(tmp_path / "shapes", train=1, val=num_images))
    config["data"]["init_args"]["eval_batch_size"] = 2
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    for name, devices in (("one", []), ("two", TWO), ("three", THREE)):
        arguments = ["--config=tiny.yaml", f"--ckpt_path={trained}", ALL_FORMATS, f"--name={name}", *devices]
        check_run("predict", *arguments, cwd=tmp_path)
    runs = tmp_path / "runs"
    assert {path.name for path in runs.iterdir()} == {"one", "two", "three"}
    assert set(contents(runs / "one")) == {*FILES, "predictions.parquet"} - {"config.yaml"}
    assert contents(runs / "one") == contents(runs / "two") == contents(runs / "three")
    assert len(json.loads((runs / "one" / "predictions.json").read_text())) > 0


@pytest.mark.slow
def test_unreadable_images_of_other_processes(trained: Path, config: Path, shapes: Path, tmp_path: Path):
    """The second process reads the image that fails, in a worker; the first one lists it."""
    images = shutil.copytree(shapes.parent / "images" / "val", tmp_path / "images")
    arguments = [f"--config={config}", f"--ckpt_path={trained}", "--data.path=images", "--data.eval_batch_size=1"]
    remove = {"class_path": "tests.cli.callbacks.Remove", "init_args": {"path": str(images / "001.png")}}
    (tmp_path / "remove.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [remove]}}))
    process = run("predict", *arguments, "--config=remove.yaml", "--data.num_workers=1", *TWO, cwd=tmp_path)
    assert process.returncode == 1, process.stdout + process.stderr
    assert "error: 1 images could not be read" in process.stderr
    assert "Traceback" not in process.stderr
    found = statuses(tmp_path / "runs" / "predict")
    assert found == {f"{n:03}.png": "could not be read" if n == 1 else "predicted" for n in range(5)}


@pytest.mark.slow
def test_a_process_that_fails_leaves_what_was_found(trained: Path, config: Path, tmp_path: Path):
    (tmp_path / "fail.yaml").write_text(
        yaml.safe_dump({"trainer": {"callbacks": [{"class_path": "tests.cli.callbacks.FailToPredict"}]}})
    )
    arguments = [f"--config={config}", f"--ckpt_path={trained}", "--config=fail.yaml", "--data.eval_batch_size=1"]
    process = run("predict", *arguments, *TWO, cwd=tmp_path)
    assert process.returncode != 0
    assert "kept in" in process.stdout + process.stderr
    run_directory = tmp_path / "runs" / "predict"
    assert {path.name for path in run_directory.iterdir()} == {"config.yaml", "parts"}
    lines = (run_directory / "parts" / "rank1.jsonl").read_text().splitlines()
    assert [Path(json.loads(line)[1]).name for line in lines] == ["001.png"]


@pytest.mark.slow
def test_machines_that_share_no_files(trained: Path, config: Path, tmp_path: Path):
    """Two agents of torchrun, each in a working directory of its own."""
    check_run("predict", f"--config={config}", f"--ckpt_path={trained}", "--data.eval_batch_size=2", cwd=tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    launcher = ["--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", f"--rdzv_endpoint={endpoint}"]
    launcher += ["--rdzv_id=test", "--local_addr=127.0.0.1"]
    nodes = ["--trainer.num_nodes=2", "--trainer.devices=1", "--trainer.strategy=ddp"]
    arguments = [f"--config={config}", f"--ckpt_path={trained}", "--data.eval_batch_size=2", *nodes]
    agents = []
    for machine in ("a", "b"):
        (tmp_path / machine).mkdir()
        agents.append(
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "torch.distributed.run",
                    *launcher,
                    "-m",
                    "yolo_lightning",
                    "predict",
                    *arguments,
                ],
                cwd=tmp_path / machine,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
    outputs = [process.communicate(timeout=600)[0].decode() for process in agents]
    assert [process.returncode for process in agents] == [0, 0], "\n".join(outputs)
    written = [tmp_path / machine / "runs" / "predict" for machine in ("a", "b")]
    first, other = sorted(written, key=lambda directory: directory.is_dir(), reverse=True)
    assert contents(first) == contents(tmp_path / "runs" / "predict")
    assert not other.exists()


def evaluate(results: list[dict[str, Any]], dataset: YOLODataset, categories: list[dict[str, Any]]) -> list[float]:
    """The twelve numbers, from the reference tool, on the labels of a data set."""
    truth = COCO()
    ids = {int(Path(dataset.path(index)).stem): index for index in range(len(dataset))}
    numbers = [category["id"] for category in categories]
    annotations = []
    for image_id, index in ids.items():
        boxes, labels = dataset.annotations(index)
        for box, label in zip(boxes.astype(float).tolist(), labels.tolist(), strict=True):
            width, height = box[2] - box[0], box[3] - box[1]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image_id, "category_id": numbers[label], "iscrowd": 0,
                    "bbox": [box[0], box[1], width, height], "area": width * height,
                }
            )  # fmt: skip
    truth.dataset = {"images": [{"id": number} for number in ids], "categories": categories, "annotations": annotations}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return list(evaluation.stats)


@pytest.mark.slow
def test_pycocotools_reads_what_validate_says(shared: Path, tmp_path: Path):
    """The published weights on real pictures, once by the yaml and once without any description."""
    options = [
        f"--config={ROOT}/configs/model/yolov5n.yaml",
        f"--model.weights={shared}/weights/yolov5n.pt",
        "--trainer.accelerator=cpu",
        "--data.image_size=320",
        "--data.num_workers=0",
    ]
    data = shared / "data" / "coco-mini"
    check_run("validate", *options, f"--data.path={data}", cwd=tmp_path)
    check_run("predict", *options, f"--data.path={data}", cwd=tmp_path)
    check_run("predict", *options, f"--data.path={data}/images/val", "--name=plain", cwd=tmp_path)
    runs = tmp_path / "runs"
    assert contents(runs / "predict") == contents(runs / "plain")
    described = json.loads((runs / "predict" / "images.json").read_text())
    assert (described["categories"][79], len(described["images"])) == ({"id": 90, "name": "toothbrush"}, 18)
    results = json.loads((runs / "predict" / "predictions.json").read_text())
    stats = evaluate(results, YOLODataset(data, "val"), described["categories"])
    measured = figures(runs / "validate")
    names = ["map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_1", "mar_10", "mar_100"]
    assert [measured[f"val/{name}"] for name in names] == pytest.approx(stats[:9], abs=1e-6)
    assert measured["val/map_50"] > 0.3
