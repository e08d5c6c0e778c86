"""Time of an epoch of ``fit`` with runs logged to W&B, as ratios to no logger, measured in one run.

    python benchmarks/wandb_logging.py [--epochs 12 --images 64 --image-size 128 --rounds 3] [options of fit]

With options of ``fit``, such as ``--data.path cells/data.yaml``, they are what is trained, instead of a network of
milliseconds on synthetic pictures.

The server is the tests' one, on this machine: undisturbed, closing every connection from the first epoch on, or leaving
every request without an answer. The kinds take turns. The first epoch, which warms up, does not count; nor does the
end, where the run waits for what is still to be sent, here for 20 s at most: it is printed by itself. Medians of all
epochs; ``callbacks`` are the seconds of an epoch in which callbacks and loggers held the training up. The server takes
of this machine's processors, too, which W&B's own does not.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.runs import tiny_config  # noqa: E402
from tests.wandb_server.faults import DROP, HANG  # noqa: E402
from tests.wandb_server.server import WandbServer  # noqa: E402

__all__ = ["main"]

KINDS = ("no logger", "undisturbed", "connections closed", "no answer")
LOGGER = [
    f"--config={ROOT / 'configs' / 'logger' / 'wandb.yaml'}",
    "--trainer.logger.init_args.upload_timeout=100",
    "--trainer.logger.init_args.finish_timeout=10",
]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("epochs", 12), ("images", 64), ("image-size", 128), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args, options = parser.parse_known_args()
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    held: dict[str, list[float]] = {kind: [] for kind in KINDS}
    ends: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(args.rounds):
        for kind in KINDS:
            epochs, callbacks, end = measure(kind, args, options)
            print(kind, *(f"{seconds:.2f}" for seconds in epochs), file=sys.stderr, flush=True)
            times[kind] += epochs
            held[kind] += callbacks
            ends[kind].append(end)
    base = statistics.median(times[KINDS[0]])
    print(f"{'':20}{'s/epoch':>10}{'ratio':>8}{'callbacks':>11}{'end, s':>8}")
    for kind in KINDS:
        median = statistics.median(times[kind])
        held_up = statistics.median(held[kind])
        ended = statistics.median(ends[kind])
        print(f"{kind:20}{median:10.3f}{median / base:8.3f}{held_up:11.3f}{ended:8.1f}")


def measure(kind: str, args: argparse.Namespace, options: list[str]) -> tuple[list[float], list[float], float]:
    """Seconds of each epoch but the first, those in callbacks, and of the end of the process after the last one."""
    with tempfile.TemporaryDirectory() as folder, WandbServer(Path(folder) / "server") as server:
        home = Path(folder) / "home"
        home.mkdir()
        (home / "config.yaml").write_text(yaml.safe_dump(config(args)))
        logger = [] if kind == KINDS[0] else LOGGER
        trained = [*options, f"--trainer.max_epochs={args.epochs}"] if options else ["--config=config.yaml"]
        with trouble(kind, server):
            subprocess.run(
                [sys.executable, "-m", "yolo_lightning", "fit", *trained, *logger],
                cwd=home,
                env={**os.environ, **server.env(home), "PYTHONPATH": str(ROOT)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=True,
            )
            ended = time.time()
        directory = home / "runs" / "fit"
        with (directory / "times.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))[1:]
        epochs, callbacks = ([float(row[f"time/{name}"]) for row in rows] for name in ("epoch", "callbacks"))
        return epochs, callbacks, ended - (directory / "times.csv").stat().st_mtime


def config(args: argparse.Namespace) -> dict[str, Any]:
    """A network of milliseconds on synthetic pictures, which leaves W&B nowhere to hide."""
    values = tiny_config(None, max_epochs=args.epochs)
    data = values["data"]["init_args"]
    data["dataset"] = {
        "class_path": "yolo_lightning.data.SyntheticShapes",
        "init_args": {
            "image_size": args.image_size,
            "num_train_images": args.images,
            "num_val_images": args.images // 4,
        },
    }
    data |= {"image_size": args.image_size, "batch_size": 16}
    return values


def trouble(kind: str, server: WandbServer) -> AbstractContextManager[Any]:
    """What is wrong with the server from the first epoch on."""

    def has_begun(_: object) -> bool:
        runs = [run for project in list(server.store.projects.values()) for run in project.runs_by_name.values()]
        return any(run.history_rows for run in runs)

    status = {KINDS[2]: DROP, KINDS[3]: HANG}.get(kind)
    return nullcontext() if status is None else server.failing(status=status, when=has_begun)


if __name__ == "__main__":
    main()
