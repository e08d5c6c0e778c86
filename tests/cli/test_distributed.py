"""Two processes on gloo measure and train as one does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import ROOT
from tests.runs import assert_same_tensors, check_run, figures, load, tiny_config, write_shapes

TWO = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
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
        "config.yaml", "metrics.csv", "metrics.json", "times.csv", "checkpoints", "images",
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
def test_two_processes_measure_the_published_weights(num_images: int, shared: Path, tmp_path: Path):
    """17 images make five batches; three make one, so that a process has none at all."""
    source = shared / "data" / "coco-mini"
    images = sorted((source / "images" / "val").glob("*.jpg"))[:num_images]
    (tmp_path / "val.txt").write_text("".join(f"{image}\n" for image in images))
    content = yaml.safe_load((source / "data.yaml").read_text())
    (tmp_path / "data.yaml").write_text(
        yaml.safe_dump({"train": "val.txt", "val": "val.txt", "names": content["names"], "path": str(tmp_path)})
    )
    for name, options in (("one", ["--trainer.accelerator=cpu"]), ("two", TWO)):
        check_run(
            "validate",
            f"--config={ROOT}/configs/model/yolov5n.yaml",
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
    assert (runs / "one" / "metrics.json").read_bytes() == (runs / "two" / "metrics.json").read_bytes()
    assert figures(runs / "one")["val/yolov5_map_50"] > 0.3
    assert {path.name for path in runs.iterdir()} == {"one", "two"}
