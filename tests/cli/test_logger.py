"""One row for each step, whatever the number of calls."""

import csv

import pytest

from yolo_lightning.cli.logger import RunCSVLogger


def rows(directory, name="metrics.csv"):
    with (directory / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_calls_of_one_step_share_a_row(tmp_path):
    logger = RunCSVLogger(tmp_path)
    for step in (4, 9, 14):
        logger.log_metrics({"val/map": step / 10, "epoch": step}, step)
        logger.log_metrics({"train/loss": step / 100, "epoch": step}, step)
    assert [(row["step"], row["val/map"], row["train/loss"]) for row in rows(tmp_path)] == [
        ("4", "0.4", "0.04"),
        ("9", "0.9", "0.09"),
        ("14", "1.4", "0.14"),
    ]


def test_rows_may_lack_columns_and_bring_new_ones(tmp_path):
    logger = RunCSVLogger(tmp_path)
    logger.log_metrics({"a": 1.0}, 0)
    logger.log_metrics({"b": 2.0}, 1)
    logger.log_metrics({"a": 3.0}, 2)
    assert [(row["a"], row["b"]) for row in rows(tmp_path)] == [("1.0", ""), ("", "2.0"), ("3.0", "")]


def test_times_have_a_file_of_their_own(tmp_path):
    logger = RunCSVLogger(tmp_path)
    for step in (4, 9):
        logger.log_metrics({"train/loss": 0.5}, step)
        logger.log_metrics({"time/epoch": step * 1.5, "time/data": 1.0}, step)
    assert rows(tmp_path) == [{"step": "4", "train/loss": "0.5"}, {"step": "9", "train/loss": "0.5"}]
    assert [row["time/epoch"] for row in rows(tmp_path, "times.csv")] == ["6.0", "13.5"]


def test_every_row_is_on_disk_when_it_is_logged(tmp_path):
    logger = RunCSVLogger(tmp_path)
    for step in range(3):
        logger.log_metrics({"a": float(step)}, step)
        assert len(rows(tmp_path)) == step + 1


def test_a_file_that_cannot_be_written_does_not_stop_the_run(tmp_path):
    logger = RunCSVLogger(tmp_path / "gone")
    with pytest.warns(UserWarning, match=r"metrics\.csv is not written"):
        logger.log_metrics({"a": 1.0}, 0)
    logger.log_metrics({"a": 1.0}, 1)
