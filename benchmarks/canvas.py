"""What a canvas of the images' own shape gives: the same network on wide pictures, on squares, wide canvases, buckets.

    python benchmarks/canvas.py [--epochs 16] [--images 256]

Trains the small detector of configs/quickstart.yaml three times on synthetic pictures of 192 × 640 pixels and prints
validation mAP and time of each. An epoch on a wide canvas has less than a third of the pixels of one on squares, so the
others get as many more epochs: all see the same number of pixels.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import yaml

from yolo_lightning.cli import main

ROOT = Path(__file__).resolve().parents[1]
CANVASES: dict[str, dict[str, object]] = {
    "squares, 640 × 640": {"image_size": 640, "canvas": "fixed"},
    "wide, 192 × 640": {"image_size": [192, 640], "canvas": "fixed"},
    "buckets up to 640": {"image_size": 640, "canvas": "buckets"},
}


def train(folder: Path, name: str, data: dict[str, object], epochs: int, images: int) -> tuple[dict[str, float], float]:
    """Figures of the best epoch and seconds of the whole run."""
    shapes = {"image_size": [192, 640], "num_train_images": images, "num_val_images": 64, "object_size": [0.25, 0.6]}
    overrides = {
        "name": name,
        "data": {"init_args": {**data, "dataset": {"init_args": shapes}}},
        "trainer": {"max_epochs": epochs, "precision": "bf16-mixed", "enable_progress_bar": False},
        "pictures": {"enabled": False},
        "runs": str(folder),
    }
    config = folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump(overrides))
    began = time.perf_counter()
    if main(["fit", f"--config={ROOT / 'configs' / 'quickstart.yaml'}", f"--config={config}"]) != 0:
        raise SystemExit(1)
    seconds = time.perf_counter() - began
    figures: dict[str, float] = yaml.safe_load((folder / name / "metrics.json").read_text())
    return figures, seconds


def compare(epochs: int, images: int) -> None:
    """Trains on each canvas and prints a table."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (title, data) in enumerate(CANVASES.items()):
            own_epochs = epochs if number == 0 else round(epochs * 640 / 192)
            figures, seconds = train(Path(folder), f"canvas-{number}", data, own_epochs, images)
            rows.append((title, own_epochs, figures["val/yolov5_map_50"], figures["val/yolov5_map"], seconds))
    print(f"{'canvas':20} {'epochs':>6} {'mAP50':>6} {'mAP50-95':>9} {'seconds':>8}")
    for title, own_epochs, map_50, mean, seconds in rows:
        print(f"{title:20} {own_epochs:6} {map_50:6.3f} {mean:9.3f} {seconds:8.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=16, help="on squares")
    parser.add_argument("--images", type=int, default=256)
    options = parser.parse_args()
    compare(options.epochs, options.images)
