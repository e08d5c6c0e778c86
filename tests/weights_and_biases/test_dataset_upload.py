"""Data sets that go to W&B, and come from there to another machine: the real client with the loopback server."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.conftest import ROOT
from tests.data.make import write_dataset, write_image, write_label, write_yaml
from tests.runs import tiny_config
from tests.wandb_server.processes import Machine
from tests.wandb_server.server import WandbServer
from yolo_lightning.data import YOLODataset
from yolo_lightning.errors import InputError

Machines = Callable[[str], Machine]


COMMANDS = """
import json, sys
from yolo_lightning.cli import main
for words in json.loads(sys.argv[1]):
    print("exit status", main(words), flush=True)
    print("=" * 20, flush=True)
"""


def python(machine: Machine, *words: str | Path, **env: str) -> str:
    """The output of Python code with its arguments, or of its other options; a busy machine may take minutes."""
    options = () if str(words[0]).startswith("-") else ("-c",)
    started = machine.start(sys.executable, *options, *words, **env)
    assert started.wait(1200) == 0, started.output
    return started.output


def run(machine: Machine, *commands: Sequence[str | Path], **env: str) -> list[str]:
    """What commands print, one after another in one process, each with its exit status."""
    words = json.dumps([list(map(str, command)) for command in commands])
    own = {"YOLO_LIGHTNING_CACHE": str(machine.home / "own-cache"), "OMP_NUM_THREADS": "1", **env}
    output = python(machine, COMMANDS, words, **own)
    assert "Traceback" not in output
    return output.split("=" * 20)[:-1]


def images_sent(server: WandbServer) -> list[str]:
    return [name for name in server.store.uploaded if name.endswith((".png", ".jpg"))]


SAMPLES = """
import hashlib, sys
from yolo_lightning.data import DetectionDataModule
for path in sys.argv[1:]:
    data = DetectionDataModule(path=path, image_size=64, batch_size=2, num_workers=0, seed=3)
    data.setup("fit")
    digest = hashlib.sha256()
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for batch in loader:
            for tensor in (batch.images, batch.boxes, batch.labels):
                digest.update(tensor.numpy().tobytes())
    print("samples", digest.hexdigest())
"""


def samples(machine: Machine, *data: str | Path) -> set[str]:
    cache = str(machine.home / "own-cache")
    output = python(machine, SAMPLES, *data, YOLO_LIGHTNING_CACHE=cache)
    found = [line for line in output.splitlines() if line.startswith("samples")]
    assert len(found) == len(data)
    return set(found)


def write_cells(machine: Machine) -> Path:
    """A data set whose pictures all differ."""
    data = write_dataset(machine.home / "cells", train=4, val=3)
    for number in range(3):
        write_image(machine.home / f"cells/images/val/val{number}.png", (24 + 4 * number, 48 - 2 * number), 50 + number)
    (machine.home / "cells/labels/train/train1.txt").unlink()  # background stays what it is
    return data


@pytest.mark.slow
def test_upload_again_change_and_use_elsewhere(wandb_server: WandbServer, machine: Machines) -> None:
    first, second = machine("a"), machine("b")
    data = write_cells(first)
    before = {path: path.stat().st_mtime_ns for path in data.parent.rglob("*")}
    upload = ["dataset", "upload", data, "--project", "p"]

    new, unchanged = run(first, upload, upload)
    assert "wandb-artifact://team/p/cells:v0: new version" in new
    assert "cells:v0: W&B has this data set already" in unchanged
    assert {path: path.stat().st_mtime_ns for path in data.parent.rglob("*")} == before
    artifact = wandb_server.store.artifact_at("team/p/cells:latest")
    assert len(artifact.artifactSequence.versions) == 1
    images = [f"train/images/train{n}.png" for n in range(4)] + [f"val/images/val{n}.png" for n in range(3)]
    labels = [name.replace("images", "labels").replace("png", "txt") for name in images if "train1" not in name]
    others = {name for name in artifact.entries if not name.startswith("media/classes/")} - {*images, *labels}
    assert others == {"data.yaml", "train.table.json", "val.table.json"}
    assert {*images, *labels} <= artifact.entries.keys()
    assert max(Counter(name for name in wandb_server.store.uploaded if name in artifact.entries).values()) == 1
    assert artifact.created_by is not None
    assert (artifact.created_by.state, artifact.created_by.jobType) == ("finished", "dataset-upload")

    table = json.loads(artifact.read_file("val.table.json"))
    number, image, classes, name = table["data"][1]
    assert (number, classes, name) == (1, "cat", "val1.png")
    assert (image["path"], image["width"], image["height"]) == ("val/images/val1.png", 46, 28)
    assert image["boxes"]["ground_truth"] == [
        {"box_caption": "cat", "class_id": 0, "position": {"height": 0.5, "middle": [0.5, 0.5], "width": 0.25}}
    ]

    sent = len(images_sent(wandb_server))
    write_image(data.parent / "images/train/train2.png", seed=99)
    assert "cells:v1: new version" in run(first, upload)[0]
    assert images_sent(wandb_server)[sent:] == ["train/images/train2.png"]

    address = "wandb-artifact://team/p/cells:v1"
    written = next(file for file in first.home.glob("runs/dataset*/data.yaml") if address in file.read_text())
    elsewhere = second.home / "data.yaml"
    elsewhere.write_bytes(written.read_bytes())
    assert samples(second, address, elsewhere) == samples(first, data)
    for output in run(second, ["check", address], ["check", elsewhere]):
        assert "Nothing is wrong" in output


@pytest.mark.slow
def test_table_reads_back_with_the_client(wandb_server: WandbServer, machine: Machines) -> None:
    data = write_cells(machine("a"))
    run(machine("a"), ["dataset", "upload", data, "--project", "p", "--splits", "val", "--name", "only val"])
    machine("b").python(
        """
        import wandb
        artifact = wandb.Api().artifact("team/p/only-val:v0")
        table = artifact.get("val")
        assert table.columns == ["id", "image", "classes", "name"], table.columns
        assert [row[3] for row in table.data] == ["val0.png", "val1.png", "val2.png"]
        image = table.data[1][1]
        assert image.image.size == (46, 28)
        assert "ground_truth" in image._boxes
        assert set(artifact.metadata["splits"]) == {"val"}
        """
    )


@pytest.mark.slow
def test_offline_upload_is_recorded(wandb_server: WandbServer, machine: Machines) -> None:
    data = write_cells(machine("a"))
    output = run(machine("a"), ["dataset", "upload", data, "--project", "p"], WANDB_MODE="offline")[0]
    assert "wandb-sync" in output
    assert "wandb-artifact://ENTITY/p/cells:v0" in output
    assert not wandb_server.requests
    directory = machine("a").home / "runs/dataset"
    assert not (directory / "data.yaml").exists()
    (recorded,) = (directory / "wandb").glob("offline-run-*")
    machine("a").run(Path(sys.executable).with_name("wandb"), "sync", recorded)
    assert len(images_sent(wandb_server)) == 7
    assert wandb_server.store.artifact_at("team/p/cells:v0").alias_names == ["latest"]


@pytest.mark.slow
def test_what_is_no_artifact_is_an_error_before_anything_starts(wandb_server: WandbServer, machine: Machines) -> None:
    fit = ["fit", "--trainer.max_epochs", "1", "--data.path"]
    picture = write_image(machine("a").home / "x.png")
    for output, said in zip(
        run(
            machine("a"),
            [*fit, "wandb-artifact://team/p/none:v3"],
            [*fit, "wandb-artifact://a/b/c/d:e:f"],
            ["detect", "wandb-artifact://team/p/none:best", picture],
            ["validate", "--data.path", "x", "--ckpt_path", "wandb-artifact://team/p/none:best"],
            ["dataset", "download", "x"],
        ),
        ["does not give this artifact", "is no address of an artifact", "does not give this", "does not give this", ""],
        strict=True,
    ):
        assert said in output
        assert "exit status 1" in output
    assert not list(machine("a").home.glob("runs/*"))


@pytest.mark.slow
def test_wrong_key_and_no_server(wandb_server: WandbServer, machine: Machines) -> None:
    data = write_cells(machine("a"))
    output = run(machine("a"), ["dataset", "upload", data], WANDB_API_KEY="local-" + "1" * 40)[0]
    assert "WANDB_API_KEY" in output
    assert "exit status 1" in output
    output = run(machine("a"), ["check", "wandb-artifact://team/p/cells:v0"], WANDB_BASE_URL="http://127.0.0.1:9")[0]
    assert "error:" in output
    assert "exit status 1" in output


ARTIFACTS = """
import json, sys
import wandb
run = wandb.init(project="p")
for name, files in json.loads(sys.argv[1]).items():
    artifact = wandb.Artifact(name, "dataset")
    for target, path in files.items():
        artifact.add_file(path, name=target)
    run.log_artifact(artifact).wait()
run.finish()
"""


def make_artifacts(machine: Machine, artifacts: dict[str, dict[str, Path]]) -> None:
    """Artifacts by name, of files by their names in them, as any script makes them."""
    python(machine, ARTIFACTS, json.dumps(artifacts, default=str))


@pytest.mark.slow
def test_artifacts_of_yolov5_and_hostile_ones(wandb_server: WandbServer, machine: Machines) -> None:
    first, second = machine("a"), machine("b")
    image = write_image(first.home / "images/1.png")
    label = write_label(image, "1 0.5 0.5 0.25 0.5\n")
    outside = write_yaml(first.home / "outside.yaml", {"train": "../../..", "val": "../../..", "names": ["cat", "dog"]})
    other = write_yaml(first.home / "other.yaml", {"train": "wandb-artifact://team/p/train", "names": ["cat"]})
    swapped = write_yaml(first.home / "swapped.yaml", {"train": "i", "val": "i", "names": ["dog", "cat"]})
    make_artifacts(
        first,
        {
            "train": {"data/images/1.png": image, "data/labels/1.txt": label},
            "val": {"images/1.png": image, "labels/1.txt": label},
            "outside": {"data.yaml": outside, "a/1.png": image},
            "other": {"data.yaml": other},
            "swapped": {"data.yaml": swapped, "i/1.png": image},
            "hostile": {"data/images/1.png": image},
        },
    )
    contents = wandb_server.store.artifact_at("team/p/hostile:v0").manifest["contents"]
    contents["../x.png"] = contents.pop("data/images/1.png")
    at = "wandb-artifact://team/p/"
    old = {"train": f"{at}train:v0", "val": f"{at}val", "names": ["cat", "dog"]}
    order = {"train": f"{at}swapped", "names": ["cat", "dog"]}
    nameless = {"train": f"{at}swapped", "val": f"{at}swapped:v0"}
    files = [write_yaml(second.home / f"{number}.yaml", values) for number, values in enumerate((old, order, nameless))]
    places = [*files, f"{at}outside", f"{at}other", f"{at}hostile"]
    outputs = run(second, *[["check", place] for place in places])
    assert "the same content" in outputs[0]  # both splits were found
    assert "exit status 0" in outputs[0]
    assert "the same classes in another order" in outputs[1]
    assert "dog" in outputs[2]
    assert "leads out of the artifact" in outputs[3]
    assert "names another one" in outputs[4]
    assert "../x.png" in outputs[5]
    assert all("exit status 1" in outputs[number] for number in (1, 3, 4, 5))
    assert not list(second.home.rglob("x.png"))


LOAD = """
import sys
import numpy as np
from yolo_lightning import load
predictor = load(sys.argv[1], device="cpu")
predictor(np.zeros((48, 64, 3), np.uint8), size=64)
print("names", predictor.names)
"""


def write_configs(machine: Machine, upload: bool) -> list[str]:
    """Options of a small fit that W&B hears of."""
    logger = yaml.safe_load((ROOT / "configs/logger/wandb.yaml").read_text())
    logger["trainer"]["logger"]["init_args"]["upload_dataset"] = upload
    logger["trainer"]["callbacks+"] = [{"class_path": "tests.weights_and_biases.callbacks.PrintReferences"}]
    tiny = tiny_config(None, max_epochs=1)
    options = []
    for name, values in (("tiny.yaml", tiny), ("wandb.yaml", logger)):
        options += ["--config", str(write_yaml(machine.home / name, values))]
    return options


def references_in(output: str) -> dict[str, list[str]]:
    (line,) = (line for line in output.splitlines() if line.startswith("references "))
    return json.loads(line.removeprefix("references "))


@pytest.mark.slow
def test_lineage_of_a_fit_that_uploads_and_of_one_that_downloads(wandb_server: WandbServer, machine: Machines) -> None:
    first, second, third = machine("a"), machine("b"), machine("c")
    data = write_cells(first)
    output = run(first, ["fit", *write_configs(first, upload=True), "--data.path", data])[0]
    assert "exit status 0" in output
    assert "W&B does not" not in output
    artifact = wandb_server.store.artifact_at("team/yolo-lightning/cells:v0")
    runs = wandb_server.store.projects["team", "yolo-lightning"].runs_by_name
    (trained,) = runs.values()
    assert artifact in trained.used
    assert trained.config_values["dataset_artifact"] == "team/yolo-lightning/cells:v0"
    references = references_in(output)
    assert len(references) == 7
    uri, name = references[str(data.parent / "images/val/val0.png")]
    assert name == "val/images/val0.png"
    assert uri.startswith(("wandb-artifact://", "wandb-client-artifact://"))
    assert uri.endswith(name)

    # On a machine that has nothing, in two processes, which download once.
    sent = len(images_sent(wandb_server))
    address = "wandb-artifact://yolo-lightning/cells"
    ddp = ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=2", "--data.path", address]
    cache = {"YOLO_LIGHTNING_CACHE": str(second.home / "own-cache"), "OMP_NUM_THREADS": "1"}
    fit = ["-m", "yolo_lightning", "fit", *write_configs(second, upload=True), *ddp]
    output = python(second, *fit, **cache)
    downloads = [request.path for request in wandb_server.requests if request.path.endswith("train0.png")]
    assert len([path for path in downloads if "/upload/" not in path]) == 1
    again = next(each for each in runs.values() if each is not trained)
    assert len(runs) == 2
    assert again.used == [artifact]
    assert again.config_values["dataset_artifact"] == "team/yolo-lightning/cells:v0"
    assert not [name for name in images_sent(wandb_server)[sent:] if name.startswith(("train/", "val/"))]
    assert len(artifact.artifactSequence.versions) == 1
    folder = second.home / "own-cache/artifacts/team/yolo-lightning/cells/v0"
    uri, name = references_in(output)[str(folder / "val/images/val0.png")]
    assert uri.startswith("wandb-artifact://")
    assert uri.endswith(name)

    # The checkpoint of the run as weights.
    model = f"wandb-artifact://team/yolo-lightning/run_{again.name}_model:best"
    cache = {"YOLO_LIGHTNING_CACHE": str(third.home / "own-cache")}
    assert "names ('cat', 'dog')" in python(third, LOAD, model, **cache)


def test_names_are_unique_and_in_order(tmp_path: Path) -> None:
    from yolo_lightning.weights_and_biases.dataset_artifact import build_dataset_artifact

    for folder in ("a/images", "b/images", "b/images/deep"):
        write_label(write_image(tmp_path / folder / "1.png", seed=len(folder)), "0 0.5 0.5 0.2 0.2\n")
    write_image(tmp_path / "b/images/2.jpg", seed=9)
    (tmp_path / "list.txt").write_text("./a/images/1.png\n./b/images/1.png\n./b/images/1.png\n")
    data = write_yaml(
        tmp_path / "data.yaml",
        {"train": ["a/images", "b/images"], "val": "list.txt", "test": "b/images/deep", "names": ["Ä: 'quoted'", "b"]},
    )
    splits = {split: YOLODataset(data, split, progress=False) for split in ("train", "val", "test")}
    built = build_dataset_artifact(splits, "x")
    copy = tmp_path / "copy"
    for name, entry in built.artifact.manifest.entries.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(Path(entry.local_path).read_bytes())
    assert built.entries == {"train": "train/images", "val": "val.txt", "test": "test/images"}
    assert (copy / "test/images/1.png").is_file()
    for split, dataset in splits.items():
        again = YOLODataset(copy, split, progress=False)
        assert again.class_names == dataset.class_names
        assert len(again) == len(dataset) == {"train": 4, "val": 3, "test": 1}[split]
        for index in range(len(dataset)):
            assert Path(again.path(index)).read_bytes() == Path(dataset.path(index)).read_bytes()
            for mine, theirs in zip(again.annotations(index), dataset.annotations(index), strict=True):
                np.testing.assert_array_equal(mine, theirs)


def test_build_reports_what_cannot_be_read(tmp_path: Path) -> None:
    from yolo_lightning.weights_and_biases.dataset_artifact import build_dataset_artifact

    data = tmp_path / "data.yaml"
    write_image(tmp_path / "list/1.png")
    (tmp_path / "list.txt").write_text("./list/1.png\n./list/2.png\n")
    write_yaml(data, {"val": "list.txt", "names": ["cat"]})
    with pytest.raises(InputError, match=r"2\.png: cannot be read"):
        build_dataset_artifact({"val": YOLODataset(data, "val", progress=False)}, "x")
