from pathlib import Path

from yolo_lightning.weights_and_biases.history import MARK, metrics_rows, whole_rows


def test_rows(tmp_path: Path) -> None:
    """Figures and times of a step are a row; one that was cut off is none of an epoch that is over."""
    assert metrics_rows(tmp_path) == whole_rows(tmp_path) == []
    lines = ["step,epoch,val/map,train/loss", "9,0,0.25,1.5", "19,1,0.5,1.0", "29,2,0.75,"]
    (tmp_path / "metrics.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "times.csv").write_text("step,time/epoch\n9,3.5\n")
    rows = metrics_rows(tmp_path)
    assert rows[0] == {MARK: 9, "epoch": 0, "val/map": 0.25, "train/loss": 1.5, "time/epoch": 3.5}
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert whole_rows(tmp_path) == rows[:2]
    (tmp_path / "metrics.csv").write_text("\n".join(lines[:3]) + "\n")
    assert whole_rows(tmp_path) == metrics_rows(tmp_path) == rows[:2]
