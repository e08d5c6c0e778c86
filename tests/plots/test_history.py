"""``metrics.csv``, whole and damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from yolo_lightning.errors import InputError
from yolo_lightning.plots.history import History

WHOLE = "step,epoch,train/loss,val/map\r\n3,0,1.5,\r\n7,1,nan,0.25\r\n11,2,0.5,0.5\r\n"


def read(text: str | bytes, tmp_path: Path) -> History:
    (tmp_path / "metrics.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return History.read(tmp_path)


def test_whole(tmp_path: Path):
    history = read(WHOLE, tmp_path)
    assert history.epochs.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(history.columns["train/loss"], [1.5, np.nan, 0.5])
    np.testing.assert_array_equal(history.columns["val/map"], [np.nan, 0.25, 0.5])
    assert (list(history.columns), history.remark, history.is_training) == (["train/loss", "val/map"], "", True)


def test_rows_of_one_epoch_are_one(tmp_path: Path):
    """As Lightning's own CSVLogger writes them."""
    history = read("epoch,step,train/loss,val/map\n0,3,,0.1\n0,3,2.0,\n1,7,1.0,0.2\n", tmp_path)
    assert history.epochs.tolist() == [0, 1]
    assert history.columns["train/loss"].tolist() == [2, 1]
    assert history.columns["val/map"].tolist() == [0.1, 0.2]


def test_an_evaluation_is_no_training(tmp_path: Path):
    assert not read("step,epoch,val/map\n0,0,0.5\n", tmp_path).is_training


@pytest.mark.parametrize(
    ("damage", "epochs"),
    [
        (WHOLE[:-3], [0, 1]),  # 0.5 may have been 0.512
        (WHOLE.replace("7,1,nan,0.25", "7,1"), [0, 2]),
        (WHOLE.replace("7,1,nan,0.25", "7,1,what,0.25"), [0, 2]),
        (WHOLE.replace("7,1,nan", "7,inf,nan"), [0, 2]),
        (WHOLE.encode().replace(b"nan", b"\x00\xff"), [0, 2]),
        (WHOLE.replace("7,1,nan", '7,"1,nan'), [0, 2]),
    ],
)
def test_rows_that_are_cut_off_are_left_out(damage: str | bytes, epochs: list[int], tmp_path: Path):
    history = read(damage, tmp_path)
    assert history.epochs.tolist() == epochs
    assert history.remark.startswith("1 rows of ")
    assert "metrics.csv" in history.remark


@pytest.mark.parametrize(
    "text", ["", "\n", "step,epoch,val/map\n", "step,epoch,val/map\n1,0", "a,b\n1,2\n", b"\x00\x01\xff" * 50]
)
def test_nothing_to_read(text: str | bytes, tmp_path: Path):
    with pytest.raises(InputError, match=r"metrics\.csv has not a row of figures"):
        read(text, tmp_path)


def test_no_file(tmp_path: Path):
    with pytest.raises(InputError, match=r"metrics\.csv does not exist"):
        History.read(tmp_path)
