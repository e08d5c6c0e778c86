"""Frames per second of ``detect``, its stages, and a plain loop, in one run.

    python benchmarks/detect.py WEIGHTS IMAGES [--frames 300] [--threads 1] [--device cuda --batch-size 16]

IMAGES is a folder of pictures, of which a video of 1280 × 720 pixels is made as well. For pictures and video, in
float32 and bfloat16: each stage alone (decoding, fitting and network, suppression, drawing, writing), a plain loop of
decoding, network and suppression one after the other, and the command, whose stages overlap. Then the latency of one
image, of ``Predictor`` and of the bare fused network.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
import torch

from yolo_lightning.inference import Frame, Predictor, Results, Source, load
from yolo_lightning.inference.frames import Event
from yolo_lightning.inference.pictures import save_picture
from yolo_lightning.inference.preprocess import fit_image, stack_images
from yolo_lightning.inference.sources import parse_sources
from yolo_lightning.inference.writers.video import VideoWriter
from yolo_lightning.tools.detection_run import DetectionRun, Outputs

__all__ = ["main"]

SIZE, ROUNDS = 640, 3


def make_video(images: Sequence[Path], path: Path, num_frames: int) -> None:
    """A camera that moves over the pictures."""
    pictures = [cv2.resize(frame.image, (1600, 900)) for frame in frames_of(parse_sources(images))]
    with VideoWriter(path, 30, (720, 1280)) as video:
        for number in range(num_frames):
            shift = number * 4 % 160
            picture = pictures[number // 40 % len(pictures)][shift : shift + 720, 2 * shift : 2 * shift + 1280]
            video.write(np.ascontiguousarray(picture))


def frames_of(sources: Iterable[Source]) -> list[Frame]:
    """All frames."""
    events: list[Event] = [event for source in sources for event in source]
    return [event for event in events if isinstance(event, Frame)]


def seconds_of(work: Callable[[], object]) -> float:
    """How long something takes."""
    began = perf_counter()
    work()
    return perf_counter() - began


def stage_rates(predictor: Predictor, source: Sequence[Path], folder: Path, batch_size: int) -> dict[str, float]:
    """Frames per second of each stage alone."""
    frames = frames_of(parse_sources(source))
    shown = frames[:120]
    batches = [shown[start : start + batch_size] for start in range(0, len(shown), batch_size)]
    decoding = seconds_of(lambda: frames_of(parse_sources(source)))
    found: list[Results] = []
    network = seconds_of(lambda: found.extend(predictor.predict(batch) for batch in batches))
    suppression = sum((each.speed or {})["postprocess"] * len(each) for each in found) / 1000
    results = [result for each in found for result in each]
    pictures = [each.render()[0] for each in results]
    drawing = seconds_of(lambda: [each.render() for each in results])
    writing = seconds_of(lambda: write_all(results, pictures, folder))
    return {
        "decode": len(frames) / decoding,
        "model": len(shown) / (network - suppression),
        "NMS": len(shown) / suppression,
        "draw": len(shown) / drawing,
        "write": len(shown) / writing,
    }


def write_all(results: Sequence[Results], pictures: Sequence[np.ndarray], folder: Path) -> None:
    """Writes drawn pictures as the command does."""
    with tempfile.TemporaryDirectory(dir=folder) as target:
        if results[0].frames[0].number is None:
            for result, picture in zip(results, pictures, strict=True):
                save_picture(picture, Path(target), result.frames[0])
            return
        with VideoWriter(Path(target) / "clip.mp4", 30, results[0].frames[0].size) as video:
            for picture in pictures:
                video.write(picture)


def plain_rate(predictor: Predictor, source: Sequence[Path], batch_size: int) -> float:
    """Frames per second of decoding, network and suppression, one after the other, without drawing or writing."""
    began, count = perf_counter(), 0
    events = (event for each in parse_sources(source) for event in each)
    frames = (event for event in events if isinstance(event, Frame))
    while batch := list(islice(frames, batch_size)):
        predictor.predict(batch)
        count += len(batch)
    return count / (perf_counter() - began)


def command_rate(
    predictor: Predictor, source: Sequence[Path], folder: Path, batch_size: int
) -> tuple[float, dict[str, float]]:
    """Frames per second of the command once the weights are loaded, and the seconds that its stages were busy."""
    run = DetectionRun(predictor, Outputs(runs=folder, name="detect"), batch_size=batch_size)
    began = perf_counter()
    run(parse_sources(source))
    return run.counts.num_frames / (perf_counter() - began), run.counts.seconds


def latencies(weights: Path, image: Path, device: str) -> tuple[float, float]:
    """Milliseconds of one image: of a predictor, with all that it does, and of the fused network alone; medians."""
    predictor = load(weights, device=device, size=SIZE)
    array = frames_of(parse_sources([image]))[0].image
    (network,) = predictor.networks.fused()
    fitted, _ = fit_image(array, (SIZE, SIZE), predictor.networks.stride)
    tensor = predictor.networks.to_input(stack_images([fitted]))
    ours, bare = [], []
    for _ in range(60):  # in turn, so that both see the same machine
        began = perf_counter()
        predictor(array)
        between = perf_counter()
        with torch.inference_mode():
            network.decode(network(tensor))
        ours.append(between - began)
        bare.append(perf_counter() - between)
    return 1000 * statistics.median(ours[10:]), 1000 * statistics.median(bare[10:])


def report(predictor: Predictor, source: Sequence[Path], folder: Path, batch_size: int) -> None:
    """Prints medians of rounds of all measurements, and of their ratios, so that both sides see the same machine."""
    rounds = []
    for _ in range(ROUNDS):
        rates = stage_rates(predictor, source, folder, batch_size)
        plain = plain_rate(predictor, source, batch_size)
        rounds.append((rates, plain, *command_rate(predictor, source, folder / "runs", batch_size)))
    alone = {name: statistics.median(rates[name] for rates, *_ in rounds) for name in rounds[0][0]}
    slowest = min(alone, key=lambda stage: alone[stage])
    of_slowest = statistics.median(command / rates[slowest] for rates, _, command, _ in rounds)
    of_plain = statistics.median(command / plain for _, plain, command, _ in rounds)
    busy = rounds[-1][3]
    print("  alone:   " + ", ".join(f"{stage} {rate:.1f}/s" for stage, rate in alone.items()))
    print(f"  NMS takes {alone['model'] / alone['NMS']:.1%} of the time of the model")
    print(f"  plain loop without drawing and writing {statistics.median(plain for _, plain, _, _ in rounds):.1f}/s")
    print(
        f"  command  {statistics.median(command for _, _, command, _ in rounds):.1f}/s = {of_slowest:.2f} × its "
        f"slowest stage ({slowest}), {of_plain:.2f} × the plain loop; busy: "
        + ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in busy.items())
    )


def main() -> None:
    """Prints all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of the network on a CPU, where stages and network share the cores")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    images = sorted(options.images.glob("*.jpg"))
    print(f"{torch.get_num_threads()} threads, {options.device}, batches of {options.batch_size}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_video(images, folder / "clip.mp4", options.frames)
        for precision in ("float32", "bfloat16"):
            predictor = load(options.weights, device=options.device, precision=precision, size=SIZE)
            for title, source in (("pictures", [options.images] * 5), ("video", [folder / "clip.mp4"])):
                predictor.predict(frames_of(parse_sources(source))[: options.batch_size])  # the first is slow on a GPU
                print(f"{title}, {precision}")
                report(predictor, source, folder, options.batch_size)
        ours, bare = latencies(options.weights, images[0], options.device)
        print(f"one image: predictor {ours:.1f} ms = {ours / bare:.2f} × the fused network alone ({bare:.1f} ms)")


if __name__ == "__main__":
    main()
