"""``yolo-lightning study``: how right networks are, and how long they take, at several image sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["study"]


def study(
    weights: list[str],
    *,
    data: Path,
    sizes: list[int] | None = None,
    split: Literal["train", "val", "test"] = "val",
    batch_size: int = 32,
    confidence_threshold: float = 0.001,
    iou_threshold: float = 0.6,
    device: str = "auto",
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    num_workers: int | None = None,
    runs: Path = Path("runs"),
    name: str = "study",
) -> None:
    """Validates networks at several image sizes: mAP against time per image.

    Each network is evaluated at each size as `validate` does it. Figures and times go to study.csv in a new directory,
    runs/study or runs/study-2 and so on, each row when it is measured, so that Ctrl-C loses none that is done; and into
    the picture study.png, a line for each network.

    Examples: `yolo-lightning study yolov5n.pt yolov5s.pt --data data.yaml`, `study best.ckpt --data data.yaml --sizes
    [320,480,640]`.

    Args:
        weights: Published YOLOv5 files (downloaded if a bare name such as yolov5s.pt), checkpoints of this library, or
            safetensors.
        data: The data.yaml, whose classes are those of the networks.
        sizes: Image sizes in pixels, [320,640]; rounded up to what a network needs, multiples of 32, or 64 for the P6
            models. By default 256, 384 and so on to 1536.
        split: Which images.
        batch_size: Images that go through the network together.
        confidence_threshold: Only detections above it count, 0…1.
        iou_threshold: Boxes of one class that overlap by more than this are one object, 0…1.
        device: auto, cpu, cuda, cuda:1, mps. auto takes the GPU if there is one.
        precision: What the network computes in. float16 needs a GPU.
        num_workers: Processes that read images. By default one for each core, eight at most.
        runs: Directory of the run directories.
        name: Name of the run directory.

    Raises:
        InputError: If weights, data or an option is wrong.
    """
    # Imported here, so that --help comes at once.
    from yolo_lightning.errors import InputError
    from yolo_lightning.paths import new_run_directory
    from yolo_lightning.tools.report import print_line
    from yolo_lightning.tools.study_run import Evaluator, StudyFiles, candidates

    wanted = list(range(256, 1537, 128)) if sizes is None else sorted(set(sizes))
    if not wanted:
        raise InputError("sizes is empty: give image sizes in pixels, such as --sizes [320,640]")
    for option, value in {"sizes": wanted[0], "batch_size": batch_size}.items():
        if value < 1:
            raise InputError(f"{option} has {value}; it must be positive")
    evaluate = Evaluator(
        data,
        split=split,
        batch_size=batch_size,
        thresholds=(confidence_threshold, iou_threshold),
        device=device,
        precision=precision,
        num_workers=num_workers,
    )
    networks = candidates(weights, evaluate.class_names, wanted)
    directory = new_run_directory(runs, name)
    print_line(f"Run directory: {directory}")
    with StudyFiles(directory, evaluate.about) as files:
        for network in networks:
            if network.note:
                print_line(network.note)
            for size in network.sizes:
                row = evaluate(network, size)
                files.add(network, row)
                print_line(f"{network.label} {size}: {row.text()}")
