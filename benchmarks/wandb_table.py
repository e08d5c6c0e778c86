"""What the evaluation table of 5,000 images costs at W&B, beside training: ``python -m benchmarks.wandb_table``.

All of it in one run, against the tests' server on loopback: our table, and ``wandb.Table`` with an image in each row.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch

from yolo_lightning.artifacts import import_wandb
from yolo_lightning.metrics import EvaluationData, StoredEvaluation
from yolo_lightning.metrics.image_errors import confident
from yolo_lightning.weights_and_biases import EvaluationTable, RunWandbLogger
from yolo_lightning.weights_and_biases.boxes import GROUND_TRUTH, PREDICTIONS, label_boxes, prediction_boxes
from yolo_lightning.weights_and_biases.ledger import LEDGER_FILE

HEIGHT, WIDTH, NUM_CLASSES, LABELS_PER_IMAGE, DETECTIONS_PER_IMAGE, NUM_PICTURES = 480, 640, 80, 7, 20, 50


def write_images(folder: Path, number: int, rng: np.random.Generator) -> list[str]:
    """JPEGs about as large as those of photographs, no two of the same bytes."""
    folder.mkdir(parents=True)
    contents = []
    for _ in range(NUM_PICTURES):
        pixels = cv2.resize(rng.integers(0, 255, (40, 40, 3), np.uint8), (WIDTH, HEIGHT)).astype(np.float64)
        noisy = np.clip(pixels + rng.normal(0, 5, pixels.shape), 0, 255).astype(np.uint8)
        contents.append(cv2.imencode(".jpg", noisy)[1].tobytes())
    paths = [folder / f"{index:06}.jpg" for index in range(number)]
    for index, path in enumerate(paths):
        path.write_bytes(contents[index % NUM_PICTURES] + index.to_bytes(4, "big"))  # after its end
    return [str(path) for path in paths]


def make_evaluation(images: list[str], rng: np.random.Generator) -> StoredEvaluation:
    """Labels, and detections near them."""
    number = len(images)
    corners = rng.uniform(0, 340, (number * LABELS_PER_IMAGE, 2))
    boxes = np.hstack((corners, corners + rng.uniform(8, 140, corners.shape)))
    labels = rng.integers(0, NUM_CLASSES, len(boxes))
    index = np.repeat(np.arange(number), DETECTIONS_PER_IMAGE)
    source = index * LABELS_PER_IMAGE + rng.integers(0, LABELS_PER_IMAGE, len(index))
    found = boxes[source] + rng.normal(0, 3, (len(source), 4))
    scores = np.sort(rng.uniform(0.25, 1, (number, DETECTIONS_PER_IMAGE)), axis=1)[:, ::-1].reshape(-1)
    data = EvaluationData(
        NUM_CLASSES, number, found, scores, labels[source], index, boxes, labels,
        np.repeat(np.arange(number), LABELS_PER_IMAGE), np.zeros(len(boxes), np.bool_),
        np.prod(boxes[:, 2:] - boxes[:, :2], axis=1),
    )  # fmt: skip
    names = tuple(f"class {label}" for label in range(NUM_CLASSES))
    sizes = np.full((number, 2), [HEIGHT, WIDTH])
    return StoredEvaluation(data, names, tuple(images), np.arange(number), sizes, "val", 0)


def time_steps(is_over: Callable[[], bool]) -> list[float]:
    """Seconds of each step of a training that launches many small operations, as one on a GPU does."""
    weights = torch.randn(16, 16)
    times = []
    while not is_over():
        start = time.perf_counter()
        for _ in range(500):
            weights = torch.tanh(weights @ weights)
        times.append(time.perf_counter() - start)
    return times


def beside_training(name: str, job: Callable[[], Any]) -> None:
    """Prints what a job in another thread costs, and how much longer the steps of training are for it.

    The steps alone are measured right before and after it. Seconds of the processors tell more than those of the clock
    where other programs run.
    """
    memory, children = _peak_memory(), _seconds_of_children()
    alone = [_steps_alone()]
    start, own = time.perf_counter(), time.thread_time()
    processors = time.process_time()
    thread = threading.Thread(target=job)
    thread.start()
    times = time_steps(lambda: not thread.is_alive())
    seconds, own = time.perf_counter() - start, time.thread_time() - own
    processors = time.process_time() - processors - own
    alone.append(_steps_alone())
    ratio = statistics.mean(times) / statistics.mean(alone)
    print(
        f"{name}: {seconds:.1f} s, processor time {processors:.1f} s here and "
        f"{_seconds_of_children() - children:.1f} s elsewhere; steps of training x{ratio:.2f} (alone "
        f"{1000 * alone[0]:.1f} ms before and {1000 * alone[1]:.1f} ms after); peak memory of the process "
        f"+{_peak_memory() - memory:.0f} MB",
        flush=True,
    )


def _steps_alone() -> float:
    end = time.perf_counter() + 5
    return statistics.mean(time_steps(lambda: time.perf_counter() > end))


def _peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def build_client_table(evaluation: StoredEvaluation, confidence_threshold: float) -> Any:
    """The same table, as the client makes it."""
    wandb = import_wandb()

    data, names = confident(evaluation.data, confidence_threshold), evaluation.class_names
    classes = wandb.Classes([{"id": label, "name": name} for label, name in enumerate(names)])
    labels = dict(enumerate(names))
    artifact = wandb.Artifact("client_table", "evaluation")
    table = wandb.Table(columns=["epoch", "id", "image", *names])
    ends = np.arange(data.num_images + 1)
    found, targets = np.searchsorted(data.image_index, ends), np.searchsorted(data.target_image_index, ends)
    fractions = 1 / np.array([WIDTH, HEIGHT]), np.zeros(2)
    for index, path in enumerate(evaluation.images):
        own = np.arange(found[index], found[index + 1])
        boxes = {
            PREDICTIONS: prediction_boxes(data, own, names, *fractions),
            GROUND_TRUTH: label_boxes(data, np.arange(targets[index], targets[index + 1]), names, *fractions),
        }
        groups = {group: {"box_data": found, "class_labels": labels} for group, found in boxes.items()}
        table.add_data(0, index, wandb.Image(path, boxes=groups, classes=classes), *[0.5] * len(names))
    artifact.add(table, "result")
    return artifact


def measure(folder: Path, evaluation: StoredEvaluation, server: Path) -> None:
    """Prints all figures."""
    wandb = import_wandb()

    logger = RunWandbLogger(project="benchmark")
    logger.prepare(folder / "run", "fit")
    dataset = wandb.Artifact("data", "dataset")
    dataset.add_dir(str(folder / "images"), name="data/images", policy="immutable", skip_cache=True)
    logger.experiment.log_artifact(dataset).wait()
    for image in evaluation.images:
        name = f"data/images/{Path(image).name}"
        logger.image_references[image] = (dataset.get_entry(name).ref_url(), name)

    uploader, trainer = logger.uploader, SimpleNamespace(callback_metrics={})
    assert uploader is not None
    beside_training("nothing", lambda: time.sleep(5))
    bytes_before, table = _size(server), EvaluationTable()

    peaks = [0.0]

    def make_and_send() -> None:
        made = threading.Event()
        table.show(trainer, logger, evaluation, 0)  # type: ignore[arg-type]
        uploader.submit("what follows", made.set)
        while not made.wait(0.2):
            peaks.append(_peak_of_writer())
        while not _last_line(folder / "run" / LEDGER_FILE).startswith(b'{"done"'):
            time.sleep(0.05)

    beside_training("our table, made and sent", make_and_send)
    print(
        f"sent: {(_size(server) - bytes_before) / 1e6:.1f} MB; the images are {_size(folder / 'images') / 1e6:.0f} MB"
    )
    beside_training("our table, the next epoch", make_and_send)
    print(f"peak memory of the process that writes it: {max(peaks):.0f} MB", flush=True)
    beside_training("wandb.Table, made only", lambda: build_client_table(evaluation, 0.25))
    logger.finalize("success")


def _peak_of_writer() -> float:
    """In MB; 0 while there is none."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"table_file" in (process / "cmdline").read_bytes():
                status = (process / "status").read_text()
                return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return 0.0


def _last_line(file: Path) -> bytes:
    """Of a file whose last line is short, or else its last bytes."""
    with file.open("rb") as content:
        content.seek(max(file.stat().st_size - 200, 0))
        return content.read().rstrip(b"\n").rpartition(b"\n")[2]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Makes the images, starts the server, and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_images", type=int, default=5000)
    number = parser.parse_args().num_images
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    folder = Path(tempfile.mkdtemp())
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.wandb_server", "--port=0", f"--dir={folder / 'server'}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        for word in server.stdout.readline().split()[1:]:
            name, _, value = word.partition("=")
            os.environ[name] = value
        os.environ |= {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_CACHE_DIR": str(folder / "c")}
        measure(folder, make_evaluation(write_images(folder / "images", number, rng), rng), folder / "server")
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
