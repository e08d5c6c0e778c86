"""Several processes on gloo measure and train as one does."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import ROOT
from tests.runs import assert_same_tensors, check_run, environment, figures, load, tiny_config, write_shapes

TWO = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
THREE = ["--trainer.accelerator=cpu", "--trainer.devices=3", "--trainer.strategy=ddp"]
DUMP_RESULTS = {"trainer": {"callbacks": [{"class_path": "tests.cli.callbacks.DumpResults"}]}}
DUMP = {"trainer": {"callbacks": [{"class_path": "tests.cli.callbacks.DumpState"}]}}


@pytest.mark.slow
def test_two_processes_train_and_measure(tmp_path: Path):
    """Seven images, three of them in the last batch; five to validate, in batches of two."""
    data = write_shapes(tmp_path / "shapes", train=7, val=5)
    config = tiny_config(data, max_epochs=3)
    config["data"]["init_args"]["eval_batch_size"] = 2
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "dump.yaml").write_text(yaml.safe_dump(DUMP))
    check_run("fit", "--config=tiny.yaml", "--config=dump.yaml", *TWO, cwd=tmp_path)
    runs = tmp_path / "runs"
    assert [path.name for path in runs.iterdir()] == ["fit"]
    assert {path.name for path in (runs / "fit").iterdir()} == {
        "config.yaml", "metrics.csv", "metrics.json", "times.csv", "evaluation.npz", "checkpoints", "images",
    }  # fmt: skip

    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert_same_tensors(first, second)
    last = load(runs / "fit" / "checkpoints" / "last.ckpt")
    assert_same_tensors(last["state_dict"], first)

    best = runs / "fit" / "checkpoints" / "best.ckpt"
    for name, options in (("one", []), ("two", TWO)):
        check_run("validate", "--config=tiny.yaml", f"--ckpt_path={best}", f"--name={name}", *options, cwd=tmp_path)
    measured = figures(runs / "two")
    assert figures(runs / "one") == measured
    assert measured["val/fitness"] > 0
    during_fit = figures(runs / "fit")
    assert {name: during_fit[name] for name in measured} == measured
    assert {path.name for path in runs.iterdir()} == {"fit", "one", "two"}


@pytest.mark.slow
@pytest.mark.parametrize("num_images", [17, 3])
def test_processes_measure_the_published_weights(num_images: int, shared: Path, tmp_path: Path):
    """17 images make five batches; three make one, so that the other processes have none at all."""
    source = shared / "data" / "coco-mini"
    images = sorted((source / "images" / "val").glob("*.jpg"))[:num_images]
    (tmp_path / "val.txt").write_text("".join(f"{image}\n" for image in images))
    content = yaml.safe_load((source / "data.yaml").read_text())
    (tmp_path / "data.yaml").write_text(
        yaml.safe_dump({"train": "val.txt", "val": "val.txt", "names": content["names"], "path": str(tmp_path)})
    )
    (tmp_path / "dump.yaml").write_text(yaml.safe_dump(DUMP_RESULTS))
    for name, options in (("one", ["--trainer.accelerator=cpu"]), ("two", TWO), ("three", THREE)):
        check_run(
            "validate",
            f"--config={ROOT}/configs/model/yolov5n.yaml",
            "--config=dump.yaml",
            f"--model.weights={shared}/weights/yolov5n.pt",
            "--data.path=data.yaml",
            "--data.image_size=320",
            "--data.eval_batch_size=4",
            "--data.num_workers=0",
            f"--name={name}",
            *options,
            cwd=tmp_path,
        )
    runs = tmp_path / "runs"
    for file in ("metrics.json", "results.json"):  # the latter with every figure of every class
        assert len({(runs / name / file).read_bytes() for name in ("one", "two", "three")}) == 1, file
    assert figures(runs / "one")["val/yolov5_map_50"] > 0.3
    assert {path.name for path in runs.iterdir()} == {"one", "two", "three"}


@pytest.mark.slow
@pytest.mark.parametrize("num_images", [3, 1])
def test_fewer_images_than_processes_would_take(num_images: int, tmp_path: Path):
    """Batches of four for each of two processes, and hardly an image to put in them."""
    config = tiny_config(write_shapes(tmp_path / "shapes", train=num_images, val=1), max_epochs=2)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "dump.yaml").write_text(yaml.safe_dump(DUMP))
    check_run("fit", "--config=tiny.yaml", "--config=dump.yaml", "--data.batch_size=8", *TWO, cwd=tmp_path)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert_same_tensors(first, second)
    last = load(tmp_path / "runs" / "fit" / "checkpoints" / "last.ckpt")
    assert (last["epoch"], last["global_step"]) == (1, 2)
    assert all(bool(tensor.isfinite().all()) for tensor in last["state_dict"].values())


@pytest.mark.slow
def test_two_nodes(tmp_path: Path):
    """Two agents of torchrun, as on two machines, one process each: one run, which one process measures alike."""
    data = write_shapes(tmp_path / "shapes", train=7, val=5)
    config = tiny_config(data, max_epochs=2)
    config["data"]["init_args"]["eval_batch_size"] = 2
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    launcher = ["--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", f"--rdzv_endpoint={endpoint}"]
    launcher += ["--rdzv_id=test", "--local_addr=127.0.0.1"]
    nodes = ["--trainer.num_nodes=2", "--trainer.devices=1", "--trainer.strategy=ddp"]
    agent = [sys.executable, "-m", "torch.distributed.run", *launcher]
    arguments = ["-m", "yolo_lightning", "fit", "--config=tiny.yaml", *nodes]
    agents = [
        subprocess.Popen(
            [*agent, *arguments], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=600)[0].decode() for process in agents]
    assert [process.returncode for process in agents] == [0, 0], "\n".join(outputs)
    runs = tmp_path / "runs"
    assert [path.name for path in runs.iterdir()] == ["fit"]
    assert {path.name for path in (runs / "fit").iterdir()} == {
        "config.yaml", "metrics.csv", "metrics.json", "times.csv", "evaluation.npz", "checkpoints", "images",
    }  # fmt: skip
    best = runs / "fit" / "checkpoints" / "best.ckpt"
    check_run("validate", "--config=tiny.yaml", f"--ckpt_path={best}", cwd=tmp_path)
    measured, during_fit = figures(runs / "validate"), figures(runs / "fit")
    assert measured["val/fitness"] > 0
    assert {name: during_fit[name] for name in measured} == measured
