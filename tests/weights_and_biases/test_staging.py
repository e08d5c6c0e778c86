"""What waits to be sent is as it was when it was to be."""

from __future__ import annotations

from pathlib import Path

from yolo_lightning.weights_and_biases.ledger import Entry
from yolo_lightning.weights_and_biases.staging import release, stage


def test_files_that_change_afterwards(tmp_path: Path) -> None:
    """A run appends to its figures and replaces its checkpoints."""
    figures, checkpoint = tmp_path / "metrics.csv", tmp_path / "last.ckpt"
    figures.write_text("one\n")
    checkpoint.write_text("weights")
    files = {"metrics.csv": figures, "last.ckpt": checkpoint, "absent.txt": tmp_path / "absent.txt"}
    kept = stage(tmp_path, "model", files, replaced=("last.ckpt",))
    with figures.open("a") as file:
        file.write("two\n")
    (tmp_path / "new").write_text("others")
    (tmp_path / "new").replace(checkpoint)
    assert {name: Path(path).read_text() for name, path in kept.items()} == {
        "metrics.csv": "one\n",
        "last.ckpt": "weights",
    }
    release(Entry("log", "model", "model", (), {}, kept), tmp_path)
    assert not list((tmp_path / "wandb" / "staging").iterdir())
    assert figures.read_text() == "one\ntwo\n"
    assert checkpoint.read_text() == "others"
