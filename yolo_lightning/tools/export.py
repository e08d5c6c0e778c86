"""``yolo-lightning export``: a network as files for other runtimes, each checked before it is kept."""

from __future__ import annotations

from pathlib import Path

__all__ = ["export"]


def export(
    weights: str,
    *,
    format: str = "onnx",  # noqa: A002 - as people call it
    image_size: int | tuple[int, int] = 640,
    batch_size: int = 1,
    dynamic: bool = False,
    half: bool = False,
    int8: bool = False,
    nms: bool = False,
    preprocess: bool = False,
    confidence_threshold: float = 0.25,
    iou_threshold: float = 0.45,
    max_detections: int = 1000,
    opset: int | None = None,
    data: Path | None = None,
    calibration_images: int = 100,
    max_map_drop: float | None = None,
    output: Path | None = None,
    overwrite: bool = False,
) -> int:
    """Exports a network to files for other runtimes.

    Examples: `yolo-lightning export best.ckpt`, `export best.ckpt --format onnx,openvino --dynamic`,
    `export best.ckpt --format openvino --int8 --data data.yaml`.

    Beside each file lie its contract (.json), which tells a program in any language what the file takes and answers,
    and a golden pair (.npz): an input and what the network answers. Before a file is kept it is run on that input, and
    with --data on the validation images; one that does not answer as the network does is not written. A format that
    fails does not stop the others; the exit status is then 1.

    Args:
        weights: A published YOLOv5 file (downloaded if it is a bare name such as yolov5s.pt), a checkpoint of this
            library, or safetensors.
        format: One of onnx, openvino, torchscript, torch_export, safetensors, aotinductor, executorch, litert,
            coreml, tensorrt; several, separated by commas; or all, without those whose libraries are missing.
        image_size: Pixels of the side of the images, or [height, width]. With --dynamic the size that is tried.
        batch_size: Images in a batch.
        dynamic: Any batch, and any height and width that are multiples of the stride (with --nms the batch stays).
        half: The network computes in float16; input and output stay float32.
        int8: The network computes in 8-bit integers, with ranges from training images of --data.
        nms: Suppression is in the file, which then answers with detections instead of all boxes.
        preprocess: The file takes images as they are read, (batch, height, width, channels) in 0…255.
        confidence_threshold: With --nms only boxes that score more are reported; without it the contract advises this.
        iou_threshold: As `confidence_threshold`: boxes of a class that overlap by more are one object.
        max_detections: As `confidence_threshold`: the most boxes of an image.
        opset: Version of ONNX's operators, 18 or higher. By default the exporter's choice.
        data: The data.yaml whose validation images compare the file's mAP with the network's, and whose training images
            int8 takes its ranges from.
        calibration_images: So many training images, evenly spaced, give int8 its ranges.
        max_map_drop: A file that loses more mAP than this, 0…1, on --data is not written. By default 0.002, and 0.05
            for int8.
        output: Directory for the files. By default that of the weights.
        overwrite: Replace files that are there.

    Returns:
        0, or 1 if a format failed.

    Raises:
        InputError: If weights, data, or an option is wrong.
    """
    # Imported here, so that --help comes at once.
    from yolo_lightning.export import ExportOptions
    from yolo_lightning.runtimes.contract import Thresholds
    from yolo_lightning.tools.export_run import ExportRun

    options = ExportOptions(
        image_size=(image_size, image_size) if isinstance(image_size, int) else image_size,
        batch_size=batch_size,
        dynamic=dynamic,
        half=half,
        int8=int8,
        preprocess=preprocess,
        nms=nms,
        thresholds=Thresholds(confidence_threshold, iou_threshold, max_detections),
        opset=opset,
    )
    run = ExportRun(weights, options, data=data, num_calibration=calibration_images, max_map_drop=max_map_drop)
    return run(format, output=output, overwrite=overwrite)
