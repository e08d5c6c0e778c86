"""What our ONNX files cost, as ratios measured in one run by turns, with onnxruntime on the CPU.

    python benchmarks/export_speed.py WEIGHTS PICTURE [--size 640] [--seconds 20] [--threads 1]

Our file, and our file with suppression in it at the default thresholds, against ``torch.onnx.export`` of the fused
network as it is, whose answer is the maps of its levels, and of the same with boxes decoded. All see PICTURE. What
suppression after the file takes, in PyTorch, stands beside them.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from yolo_lightning.data.transforms import letterbox
from yolo_lightning.export import ExportOptions, export_network
from yolo_lightning.export.tracing import quiet_exporters
from yolo_lightning.models import Detector, detector_from_weights
from yolo_lightning.ops import NMS
from yolo_lightning.runtimes import load_exported
from yolo_lightning.tools.latency import Turns

__all__ = ["main"]

CPU = torch.device("cpu")


class Decoded(nn.Module):
    """A network that answers with boxes and scores."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (B, N, 4) and scores (B, N, C)."""
        boxes, scores = self.detector.decode(self.detector(images))
        return boxes, scores


def export_plainly(network: nn.Module, images: Tensor, path: Path) -> Path:
    """As PyTorch's manual has it."""
    with quiet_exporters():
        torch.onnx.export(network, (images,), path, dynamo=True, verbose=False, external_data=False)
    return path


def session_of(path: Path, image: Tensor, threads: int) -> Callable[[], object]:
    """Runs a file on an image."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: image.numpy()}
    return lambda: session.run(None, inputs)


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--seconds", type=float, default=20, help="of each")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    detector, names = detector_from_weights(options.weights)
    detector.eval().requires_grad_(False)
    names = names or tuple(f"class{index}" for index in range(detector.num_classes))
    size = (options.size, options.size)
    picture = cv2.cvtColor(cv2.imread(str(options.picture)), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
    images = torch.from_numpy(letterbox(picture.astype(np.uint8, copy=False), size)[0]).permute(2, 0, 1)[None]
    image = images.float().div(255).contiguous()
    fused = detector.fuse()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, nms in (("ours", False), ("ours-nms", True)):
            export_network(
                detector,
                names,
                "onnx",
                folder / f"{kind}.onnx",
                ExportOptions(size, nms=nms),
                images=images.contiguous(),
            )
        export_plainly(fused, image, folder / "plain.onnx")
        export_plainly(Decoded(fused), image, folder / "plain-decoded.onnx")
        calls = {path.stem: session_of(path, image, options.threads) for path in sorted(folder.glob("*.onnx"))}
        ours = load_exported(folder / "ours.onnx")
        suppress, answer = NMS(0.25, 0.45, 1000, multi_label=False), ours(image)
        calls["suppression afterwards"] = lambda: suppress(*ours.decode_above(answer, 0.25))
        num_rows = answer[0].shape[1]
        turns = Turns(calls, CPU)
        turns.run(options.seconds)
    latency = {call: turns.latency(call) for call in calls}
    milliseconds = {call: each.p50 for call, each in latency.items() if each is not None}
    print(f"{options.weights.name}, {options.size} pixels, {options.threads} threads, {num_rows} rows, medians")
    for call, value in milliseconds.items():
        print(f"  {call:24} {value:8.2f} ms")
    for one, other in (("ours", "plain"), ("ours", "plain-decoded"), ("ours-nms", "ours")):
        print(f"  {one} / {other}: {milliseconds[one] / milliseconds[other]:.3f}")


if __name__ == "__main__":
    main()
