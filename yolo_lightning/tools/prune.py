"""``yolo-lightning prune``: weights of a smaller, faster network, or with zeros among them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from yolo_lightning.models import Detector

__all__ = ["prune"]


def prune(
    weights: str,
    *,
    method: Literal["channels", "magnitude"] = "channels",
    flops: float | None = None,
    sparsity: float | None = None,
    importance: Literal["l1", "l2", "bn"] = "l2",
    output: Path | None = None,
    image_size: int = 640,
    data: Path | None = None,
    split: Literal["train", "val", "test"] = "val",
    batch_size: int = 32,
    device: str = "auto",
    num_workers: int | None = None,
    report: Path | None = None,
) -> None:
    """Removes what a trained network needs least, and tells what that costs and brings.

    `--method channels` takes whole channels out of the layers: the network is smaller and faster on any machine, and
    has to be trained on for a few epochs, as `fit --model.weights best-pruned.safetensors` does. `detect`, `validate`
    and the others take the file as any weights. `--method magnitude` sets the smallest weights of each convolution to
    zero, as YOLOv5 does: the network stays as large and as slow, and training would fill the zeros again.

    Prints parameters, GFLOPs, size of the file and CPU latency before and after, with `--data` mAP, too.

    Examples: `yolo-lightning prune best.ckpt --flops 0.3 --data data.yaml`, `prune best.ckpt --method magnitude
    --sparsity 0.3`.

    Args:
        weights: A published YOLOv5 file (downloaded if a bare name such as yolov5s.pt), a checkpoint of this library,
            or safetensors.
        method: channels or magnitude.
        flops: Share of the floating-point operations to remove, for channels. By default 0.3.
        sparsity: Share of the weights of each convolution to set to zero, for magnitude. By default 0.3.
        importance: Which channels go first: those of the smallest L1 or L2 norm, over all layers that share them, or of
            the smallest scale in batch normalisation.
        output: File to write, safetensors. By default best-pruned.safetensors for best.ckpt, beside it, or here if the
            weights were downloaded. A file that is there stays, and a number makes the name new.
        image_size: Side of the images in pixels for which operations count and times are taken; rounded up to what the
            network needs, a multiple of 32, or 64 for the P6 models.
        data: The data.yaml on which to measure mAP before and after.
        split: Which images of it.
        batch_size: Images that go through the network together, for mAP.
        device: Where mAP is measured: auto, cpu, cuda, cuda:1, mps.
        num_workers: Processes that read images. By default one for each core, eight at most.
        report: New file for the figures, JSON.

    Raises:
        InputError: If weights, data or an option is wrong, or so much cannot be removed.
    """
    # Imported here, so that --help comes at once.
    from yolo_lightning.data.checks import round_up
    from yolo_lightning.models import detector_from_weights, resolve_weights
    from yolo_lightning.tools.channel_pruning import prune_channels
    from yolo_lightning.tools.magnitude_pruning import prune_weights
    from yolo_lightning.tools.prune_report import PruneReport
    from yolo_lightning.tools.report import print_line

    amount = _amount(method, flops, sparsity, image_size)
    path = resolve_weights(weights)
    detector, names = detector_from_weights(path)
    names = names or tuple(f"class{index}" for index in range(detector.num_classes))
    (size, _), message = round_up(image_size, detector.strides[-1])
    if message is not None:
        print_line(message)
    measure = PruneReport(path, size, data, split, batch_size, device, num_workers)
    target = output or (path if path == Path(weights) else Path(path.name)).with_name(f"{path.stem}-pruned.safetensors")
    _check_target(target, report)
    if method == "channels":
        pruned = prune_channels(detector, amount, importance, size)
    else:
        pruned = prune_weights(detector, amount)
    written = _save(pruned, target, names)
    print_line(f"pruned network: {written}")
    measure(written, {"method": method, "amount": amount}, report)
    if method == "channels":
        print_line(f"Train it on for some epochs: yolo-lightning fit --model.weights {written} …")


def _amount(method: str, flops: float | None, sparsity: float | None, image_size: int) -> float:
    """The share that the method is to remove."""
    from yolo_lightning.errors import InputError

    options = {"channels": ("flops", flops), "magnitude": ("sparsity", sparsity)}
    if method not in options:
        raise InputError(f"method is {method!r}: use channels or magnitude")
    for other, (name, value) in options.items():
        if other != method and value is not None:
            raise InputError(f"--{name} is for --method {other}; --method {method} takes --{options[method][0]}")
    name, value = options[method]
    value = 0.3 if value is None else value
    if not 0 < value < 1:
        raise InputError(f"{name} is {value}; a share to remove is above 0 and below 1")
    if image_size < 1:
        raise InputError(f"image_size is {image_size}; it must be positive")
    return value


def _check_target(target: Path, report: Path | None) -> None:
    """Before the work, not after it."""
    from yolo_lightning.errors import InputError

    if target.suffix != ".safetensors":
        raise InputError(f"{target}: the pruned network is written as safetensors; name it *.safetensors")
    for path in filter(None, (target, report)):
        if not path.parent.is_dir():
            raise InputError(f"{path}: there is no directory {path.parent}; make it first")


def _save(pruned: Detector, target: Path, names: Sequence[str]) -> Path:
    """Writes a new file; nothing is left if that fails."""
    from yolo_lightning.errors import InputError
    from yolo_lightning.models import save_weights
    from yolo_lightning.paths import new_file

    try:
        with new_file(target) as file:  # empty, to hold the name
            written = Path(file.name)
        try:
            save_weights(pruned, written, names)
        except BaseException:
            written.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    return written
