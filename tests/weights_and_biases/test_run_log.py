import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.weights_and_biases.conftest import offline_machine
from yolo_lightning.errors import InputError
from yolo_lightning.weights_and_biases.artifact_files import artifact_files
from yolo_lightning.weights_and_biases.run_log import RunLog


@pytest.fixture(scope="module")
def log(offline_run):
    return RunLog(offline_run)


@pytest.fixture(scope="module")
def content(offline_run):
    return (offline_run / "run-r.wandb").read_bytes()


def test_run(log):
    assert (log.run.run_id, log.run.project, list(log.run.tags)) == ("r", "p", ["t"])
    assert log.config == {"lr": 0.1, "nested": {"a": 1}}
    assert log.metrics["val/map"].step_metric == "epoch"
    assert log.exit_code == 0
    assert log.finished
    assert not log.torn
    assert "printed" in log.console


def test_history(log):
    rows = log.history
    assert [row["_step"] for row in rows] == list(range(2002))
    assert log.logged("epoch") == list(range(2000))
    assert all(row["nested"] == {"text": "x" * (row["epoch"] % 97)} for row in rows[:2000])
    # over many blocks
    assert log.logged("large") == ["y" * 200_000]
    assert math.isnan(log.logged("not a number")[0])


def test_summary(log):
    assert log.summary["best/map"] == 0.5
    assert log.summary["epoch"] == 1999
    assert "gone" not in log.summary


def test_images_and_boxes(log):
    (one,), (several,) = log.logged("one"), log.logged("several")
    assert [path.is_file() for path in log.images(one)] == [True]
    assert [path.is_file() for path in log.images(several)] == [True] * 3
    (boxes,) = log.boxes(one)
    assert boxes["predictions"][0]["class_id"] == 1
    assert boxes["predictions"][0]["position"]["middle"] == [0.5, 0.5]
    assert [len(groups["predictions"]) for groups in log.boxes(several)] == [0, 1, 2]


def test_artifacts(log):
    (artifact,) = log.artifacts
    assert (artifact.name, artifact.type, sorted(artifact.aliases)) == ("d", "dataset", ["first", "latest"])
    assert json.loads(artifact.metadata) == {"images": 1}
    files = artifact_files(artifact)
    assert set(files) == {"data/saved.txt", "a.png"}
    saved, reference = files["data/saved.txt"], files["a.png"]
    assert saved.local_path.read_text() == "saved"
    assert saved.size == 5
    assert saved.ref is None
    assert (reference.ref, reference.local_path) == ("https://example.com/a.png", None)


def test_missing_files(offline_run, tmp_path):
    assert RunLog(offline_run).missing_files() == []
    directory = tmp_path / offline_run.name
    shutil.copytree(offline_run, directory, symlinks=True)
    log = RunLog(directory)
    (image,) = log.images(log.logged("one")[0])
    image.unlink()
    assert log.missing_files() == [image]
    staged = artifact_files(log.artifacts[0])["data/saved.txt"].local_path
    hidden = staged.rename(tmp_path / "hidden")
    try:
        assert log.missing_files() == [image, staged]
    finally:
        hidden.rename(staged)
    log.file(log.logged("one")[0]["boxes"]["predictions"]["path"]).unlink()
    with pytest.raises(InputError, match=r"boxes2D\.json: cannot be read"):
        log.boxes(log.logged("one")[0])


def test_artifact_of_many_files(tmp_path):
    machine = offline_machine(tmp_path / "home")
    machine.python(
        """
        import wandb, wandb.sdk.interface.interface as interface
        interface.MANIFEST_FILE_SIZE_THRESHOLD = 2
        run = wandb.init(project="p", id="r", mode="offline")
        artifact = wandb.Artifact("d", "dataset")
        for i in range(5):
            with artifact.new_file(f"{i}.txt") as file:
                file.write(str(i))
        artifact.add_reference("https://example.com/a.png", name="a.png", checksum=False)
        run.log_artifact(artifact)
        run.finish()
        """
    )
    log = RunLog(next((machine.home / "wandb").glob("offline-run-*")))
    (artifact,) = log.artifacts
    assert not artifact.manifest.contents
    files = artifact_files(artifact)
    assert len(files) == 6
    assert files["3.txt"].local_path.read_text() == "3"
    assert files["a.png"].ref == "https://example.com/a.png"
    assert log.missing_files() == []
    os.truncate(artifact.manifest.manifest_file_path, 40)
    with pytest.raises(InputError, match="files of artifact d cannot be read"):
        log.missing_files()
    Path(artifact.manifest.manifest_file_path).unlink()
    with pytest.raises(InputError, match="files of artifact d cannot be read"):
        log.missing_files()


@pytest.mark.slow
def test_killed_run(tmp_path):
    """What was flushed of a run that SIGKILL ended can be read; it does not count as finished."""
    machine = offline_machine(tmp_path / "home")
    command = machine.start_python(
        """
        import time, wandb
        run = wandb.init(project="p", id="r", mode="offline")
        for epoch in range(10**9):
            run.log({"epoch": epoch, "text": "x" * 1000})
            time.sleep(0.001)
        """
    )

    def size():
        return sum(path.stat().st_size for path in (machine.home / "wandb").glob("offline-run-*/run-r.wandb"))

    end = time.monotonic() + 300
    while size() < 200_000:
        assert time.monotonic() < end, command.output
        time.sleep(0.05)
    machine.power_off()
    log = RunLog(next((machine.home / "wandb").glob("offline-run-*")))
    assert log.logged("epoch") == list(range(len(log.history)))
    assert len(log.history) > 50
    assert log.exit_code is None
    assert not log.finished


def test_every_torn_end(content, run_with):
    """Wherever the file ends, what is before is read, and a record is lost only where the end says so."""
    whole = RunLog(run_with(content))
    ends = {
        *range(120),
        *range(32_740, 32_800),
        *range(0, len(content), 50_021),
        *range(len(content) - 20, len(content)),
    }
    for end in sorted(ends):
        log = RunLog(run_with(content[:end]))
        assert log.records == whole.records[: len(log.records)]
        assert not log.finished
        if end < 7:
            assert log.torn
    assert RunLog(run_with(content)).finished


def test_torn_end_is_known(content, run_with):
    assert RunLog(run_with(content[:-1])).torn
    assert RunLog(run_with(content[: 1 << 17])).torn  # a whole block, which ends inside the large record or another
    assert RunLog(run_with(content + bytes(5000))).torn  # zeros of a file system
    assert not RunLog(run_with(content[:7])).torn


def test_log_that_ends_before_the_run(content, run_with):
    log = RunLog(run_with(content[:7]))
    assert (log.history, log.config, log.summary, log.exit_code) == ([], {}, {}, None)
    with pytest.raises(InputError, match=r"run-r\.wandb: ends before"):
        _ = log.run


@pytest.mark.parametrize("place", [0.0, 0.2, 0.5, 0.999])
def test_damage(content, run_with, place):
    damaged = bytearray(content)
    damaged[int(place * len(content))] ^= 0x10
    with pytest.raises(InputError, match=r"run-r\.wandb: is (damaged|no log)"):
        RunLog(run_with(bytes(damaged)))


def test_lost_block(content, run_with):
    block = 32 * 1024
    for damaged in (content[:block] + content[2 * block :], content[:block] + bytes(block) + content[2 * block :]):
        with pytest.raises(InputError, match=r"run-r\.wandb: is damaged"):
            RunLog(run_with(damaged))


def test_lost_record(content, run_with):
    first_end = 7 + 7 + int.from_bytes(content[11:13], "little")
    second_end = first_end + 7 + int.from_bytes(content[first_end + 4 : first_end + 6], "little")
    assert len(RunLog(run_with(content[:second_end])).records) == 2
    with pytest.raises(InputError, match=r"record 2 is missing, 3 comes next"):
        RunLog(run_with(content[:first_end] + content[second_end:20_000]))


@pytest.mark.parametrize("foreign", [b"PK\x03\x04 something else", b":W&B\xe1\xbe\x01 a later version", b"\0" * 100])
def test_foreign_file(foreign, run_with):
    with pytest.raises(InputError, match=r"run-r\.wandb: is no log of a W&B run"):
        RunLog(run_with(foreign))


def test_foreign_directory(tmp_path, run_with):
    with pytest.raises(InputError, match="found none"):
        RunLog(tmp_path)
    with pytest.raises(InputError, match="no such directory"):
        RunLog(tmp_path / "nowhere")
    directory = run_with(b"")
    (directory / "run-s.wandb").touch()
    with pytest.raises(InputError, match=r"found run-r\.wandb, run-s\.wandb"):
        RunLog(directory)
    (directory / "run-s.wandb").unlink()
    (directory / "run-r.wandb").unlink()
    (directory / "run-r.wandb").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        RunLog(directory)


@pytest.mark.slow
def test_nothing_else_imports_it():
    """Importing the command line, the callbacks and this room itself leaves wandb alone."""
    code = """
    import sys
    import yolo_lightning.callbacks, yolo_lightning.cli, yolo_lightning.data
    import yolo_lightning.inference, yolo_lightning.module
    room = "yolo_lightning.weights_and_biases"
    assert "wandb" not in sys.modules and room not in sys.modules
    __import__(room)
    assert "wandb" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", "\n".join(line.strip() for line in code.splitlines())], check=True)
