"""``yolo-lightning benchmark``: how fast a network is in every way that it can be run here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["benchmark"]


def benchmark(
    weights: list[str],
    *,
    candidates: list[str] | None = None,
    data: Path | None = None,
    split: Literal["train", "val", "test"] = "val",
    size: int | tuple[int, int] = 640,
    batch_size: int = 8,
    seconds: float = 5.0,
    threads: int | None = None,
    device: str = "auto",
    confidence_threshold: float = 0.001,
    iou_threshold: float = 0.6,
    num_workers: int | None = None,
    profile: bool = False,
    profile_depth: int = 2,
    hard_fail: bool = False,
    floor: float | None = None,
    runs: Path = Path("runs"),
    name: str = "benchmark",
) -> int:
    """Measures networks in every way that they can be run here: size of file, latency, throughput, mAP.

    The ways are PyTorch as it is, torch.compile, and each exported format, in float32 and in fewer bits. A time is that
    from images on the device to boxes and scores, before suppression. All ways have their turns one after the other,
    round by round, so that a busy machine hits all alike; one that cannot run here says why and does not stop the
    others. The table goes to benchmark.csv in a new directory, runs/benchmark or runs/benchmark-2 and so on, and into
    the picture benchmark.png: mAP over latency, or latency alone without data. Ctrl-C leaves what is measured.

    Examples: `yolo-lightning benchmark yolov5s.pt`, `benchmark best.ckpt --data data.yaml --threads 4`, `benchmark
    yolov5n.pt yolov5s.pt --candidates [eager,onnx] --size 320`, `benchmark yolov5s.pt --profile --candidates []`.

    Args:
        weights: Published YOLOv5 files (downloaded if a bare name such as yolov5s.pt), checkpoints of this library, or
            safetensors.
        candidates: Ways to run them, such as [eager,compiled,onnx]. By default all that are for the device.
        data: The data.yaml, whose classes are those of the networks: measures mAP, on squares of the size.
        split: Which images.
        size: Pixels of the side of the images, or [height, width]; multiples of 32, or of 64 for the P6 models.
        batch_size: Images in a batch, for the throughput; mAP is measured with such batches, too.
        seconds: For which each way is measured, once with single images and once with batches, at least 12 times.
        threads: That each way computes with on a CPU. By default PyTorch's choice.
        device: auto, cpu, cuda, cuda:1, mps. auto takes the GPU if there is one.
        confidence_threshold: Only detections above it count, 0…1.
        iou_threshold: Boxes of one class that overlap by more than this are one object, 0…1.
        num_workers: Processes that read images. By default one for each core, eight at most.
        profile: Also tell parameters, operations and milliseconds of each layer, in profile.csv.
        profile_depth: How deep: 1 is backbone, neck and head, 2 the layers in these, and so on.
        hard_fail: Exit with 1 if a way cannot run, or has no more mAP than the floor.
        floor: See `hard_fail`, 0…1.
        runs: Directory of the run directories.
        name: Name of the run directory.

    Returns:
        0, or 1 as `hard_fail` says.

    Raises:
        InputError: If weights, data or an option is wrong.
    """
    # Imported here, so that --help comes at once.
    from yolo_lightning.errors import InputError
    from yolo_lightning.inference.networks import resolve_device
    from yolo_lightning.paths import new_run_directory
    from yolo_lightning.tools.benchmark_candidates import default_candidates, find_candidates
    from yolo_lightning.tools.benchmark_files import BenchmarkFiles, Conditions
    from yolo_lightning.tools.benchmark_map import LabelledImages
    from yolo_lightning.tools.benchmark_run import Benchmark, failures, profile_of, read_networks, using_threads
    from yolo_lightning.tools.report import print_line

    image_size = (size, size) if isinstance(size, int) else size
    counts = {"size": min(image_size), "batch_size": batch_size, "seconds": seconds, "profile_depth": profile_depth}
    for option, value in {**counts, "threads": 1 if threads is None else threads}.items():
        if value <= 0:
            raise InputError(f"{option} has {value}; it must be positive")
    if floor is not None and not (hard_fail and data is not None):
        raise InputError("floor is about the mAP that --hard-fail asks for: give --hard-fail and --data data.yaml, too")
    where = resolve_device(device)
    chosen = default_candidates(where, has_data=data is not None) if candidates is None else find_candidates(candidates)
    if not (chosen or profile):
        raise InputError("candidates is empty: give ways to run the networks, such as --candidates [eager,onnx]")
    thresholds = (confidence_threshold, iou_threshold)
    images = None
    if data is not None:
        images = LabelledImages(data, split=split, thresholds=thresholds, num_workers=num_workers)
    networks = read_networks(weights, image_size, images)
    directory = new_run_directory(runs, name)
    print_line(f"Run directory: {directory}")
    with using_threads(threads):
        about = "" if data is None else f"{split} of {Path(*data.parts[-2:])}"
        measure = Benchmark(
            chosen,
            device=where,
            image_size=image_size,
            batch_size=batch_size,
            seconds=seconds,
            images=images,
            directory=directory,
        )
        with BenchmarkFiles(directory, Conditions.here(where, image_size, about)) as files:
            for network in networks:
                if profile:
                    files.add_profile(network, profile_of(network, where, image_size, profile_depth, seconds))
                measure(network, files.rows)
                files.write()
    return int(hard_fail and failures(files.rows, floor))
