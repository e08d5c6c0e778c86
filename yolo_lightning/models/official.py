"""Names of the tensors in published YOLOv5 files, ``model.<layer>.<name>``, and ours."""

from __future__ import annotations

from torch import Tensor, nn

from yolo_lightning.models.detector import Detector

__all__ = ["official_layers", "official_names", "official_state_dict"]


def official_layers(detector: Detector) -> list[tuple[int, nn.Module]]:
    """Numbers of the layers in published files, ascending, with our modules; layers without tensors are left out.

    Parts that the files do not know, such as a backbone of your own, have no layers here.
    """
    layers = {}
    for part in (detector.backbone, detector.neck, detector.head):
        layers.update(part.official_layers())
    return sorted(layers.items())


def official_names(detector: Detector) -> dict[str, str]:
    """Names in the detector's state dict → names in published files, in their order; unknown parts are left out."""
    module_names = {id(module): name for name, module in detector.named_modules()}
    return {
        f"{module_names[id(layer)]}.{name}": f"model.{number}.{name}"
        for number, layer in official_layers(detector)
        for name in layer.state_dict()
    }


def official_state_dict(detector: Detector) -> dict[str, Tensor]:
    """The detector's tensors under the names, and in the order and units, of published YOLOv5 files.

    Anchors are in cells there: pixels / stride. All other tensors share their memory with the detector.

    Raises:
        ValueError: If the detector has tensors that the files do not know, such as those of a backbone of your own.
    """
    names = official_names(detector)
    ours = detector.state_dict()
    unknown = [name for name in ours if name not in names]
    if unknown:
        raise ValueError(
            f"{len(unknown)} tensors have no name in YOLOv5 files, {unknown[0]} first: give the part that holds them "
            "official_layers()"
        )
    return {official: _to_official(ours[name], name, detector) for name, official in names.items()}


def from_official(detector: Detector, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under our names and in our units, of tensors in published form; names without a place are kept."""
    ours = {official: name for name, official in official_names(detector).items()}
    return {ours.get(name, name): _from_official(tensor, ours.get(name), detector) for name, tensor in tensors.items()}


def _strides(detector: Detector, tensor: Tensor) -> Tensor:
    return tensor.new_tensor(detector.strides).view(-1, 1, 1)


def _to_official(tensor: Tensor, name: str, detector: Detector) -> Tensor:
    return tensor / _strides(detector, tensor) if name == "head.anchors" else tensor


def _from_official(tensor: Tensor, name: str | None, detector: Detector) -> Tensor:
    if name != "head.anchors" or len(tensor) != len(detector.strides):
        return tensor
    return tensor.float() * _strides(detector, tensor.float())
