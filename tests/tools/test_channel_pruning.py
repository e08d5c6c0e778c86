"""Whole channels taken out of networks."""

from __future__ import annotations

import copy
import sys
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import ROOT
from tests.models.test_build import TinyDetector
from yolo_lightning.errors import InputError
from yolo_lightning.models import PAFPN, CSPDarknet, Detector, PrunedDetector, yolov5
from yolo_lightning.tools.channel_pruning import Importance, prune_channels
from yolo_lightning.tools.flops import flops_by_module
from yolo_lightning.types import FeatureInfo

IMPORTANCE: list[Importance] = ["l1", "l2", "bn"]


@pytest.fixture(autouse=True)
def _library() -> None:
    pytest.importorskip("torch_pruning", reason="needs torch-pruning, of the extra `prune`")


@pytest.fixture
def detector() -> Detector:
    torch.manual_seed(0)
    detector = yolov5("n", 3)
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.1, 1.0)
            nn.init.normal_(module.running_mean)
    return detector.eval()


def share_left(pruned: Detector, full: Detector) -> float:
    return flops_by_module(pruned, (1, 3, 320, 320))[""] / flops_by_module(full, (1, 3, 320, 320))[""]


@pytest.mark.parametrize("importance", IMPORTANCE)
def test_the_share_that_was_asked_for(detector: Detector, importance: Importance) -> None:
    before = copy.deepcopy(detector.state_dict())
    pruned = prune_channels(detector, 0.3, importance, 320)
    assert isinstance(pruned, PrunedDetector)
    assert 0.6 < share_left(pruned, detector) <= 0.7
    convolutions = {name: layer for name, layer in pruned.named_modules() if isinstance(layer, nn.Conv2d)}
    assert all(layer.out_channels % 8 == 0 for layer in convolutions.values())
    images = torch.rand(2, 3, 64, 96)
    assert [x.shape for x in pruned(images)] == [x.shape for x in detector(images)]
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.state_dict().items())


def test_what_is_left_has_its_weights(detector: Detector) -> None:
    pruned = prune_channels(detector, 0.3)
    names = [name for name, layer in pruned.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    assert any(name in pruned.channels for name in names)
    for name in names:
        full, left = (network.get_submodule(name).running_mean.tolist() for network in (detector, pruned))
        assert left == [value for value in full if value in set(left)]  # in their order, too


@pytest.mark.parametrize("importance", IMPORTANCE)
def test_channels_that_do_nothing_go_first(detector: Detector, importance: Importance) -> None:
    # A bottleneck of the neck, and the stage of a residual connection; they go with all layers that share them.
    dead = torch.arange(1, 64, 2)
    bottleneck = detector.neck.top_down[0].m[0]
    silence(bottleneck.cv1, dead[:16])
    bottleneck.cv2.conv.weight.data[:, dead[:16]] = 0
    stage = detector.backbone.stages[1][1]
    for layer in (stage.cv1, stage.m[0].cv2, stage.m[1].cv2):
        silence(layer, dead[:8])
    for layer in (stage.m[0].cv1, stage.m[1].cv1, stage.cv3):
        layer.conv.weight.data[:, dead[:8]] = 0
    pruned = prune_channels(detector, 0.01, importance)
    assert set(pruned.channels) <= {
        f"{block}.{layer}"
        for block in (
            "neck.top_down.0.m.0.cv1",
            "neck.top_down.0.m.0.cv2",
            *(f"backbone.stages.1.1.{name}" for name in ("cv1", "m.0.cv1", "m.0.cv2", "m.1.cv1", "m.1.cv2", "cv3")),
        )
        for layer in ("conv", "bn")
    }
    images = torch.rand(1, 3, 64, 64)
    for ours, theirs in zip(pruned(images), detector(images), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def silence(layer: nn.Module, channels: Tensor) -> None:
    for parameter in (layer.conv.weight, layer.bn.weight, layer.bn.bias):
        parameter.data[channels] = 0


def test_pruned_again(detector: Detector) -> None:
    once = prune_channels(detector, 0.2)
    twice = prune_channels(once, 0.2)
    assert 0.5 < share_left(twice, detector) <= 0.64
    assert twice.backbone.constructor_arguments() == detector.backbone.constructor_arguments()


def test_as_much_as_can_go(detector: Detector) -> None:
    assert share_left(prune_channels(detector, 0.7), detector) <= 0.3
    with pytest.raises(InputError, match=r"99% of the FLOPs cannot be removed: .* at most \d\d%"):
        prune_channels(detector, 0.99)


@pytest.mark.slow
def test_parts_of_a_researcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "research"))
    import parts

    monkeypatch.setitem(sys.modules, "parts", parts)
    torch.manual_seed(0)
    backbone = partial(parts.ConvNeXtBackbone, widths=(16, 32, 64, 128), depths=(1, 1, 1, 1))
    detector = Detector(2, backbone, head=partial(parts.DecoupledHead, width=32)).eval()
    pruned = prune_channels(detector, 0.5, image_size=64)
    assert flops_by_module(pruned, (1, 3, 64, 64))[""] <= 0.5 * flops_by_module(detector, (1, 3, 64, 64))[""]
    # Channels that a layer normalisation sees stay; those inside a block do not. So do the head's outputs.
    assert pruned.backbone.features == detector.backbone.features
    assert pruned.head.m[0].box.out_channels == 15
    assert {layer.partition(".")[0] for layer in pruned.channels} == {"backbone", "neck", "head"}


class ScaledBackbone(CSPDarknet):
    """With parameters outside layers, which depend on the number of channels."""

    def __init__(self) -> None:
        super().__init__(0.33, 0.25)
        self.gain = nn.Parameter(torch.ones(64, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        fine, *others = super().forward(images)
        return fine * self.gain, *others


class CountingBackbone(CSPDarknet):
    """Depends on a number of channels that it has written down."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        fine, *others = super().forward(images)
        assert fine.shape[1] == self.features.channels[0]
        return fine.view(len(fine), 64, *fine.shape[2:]), *others


class DetachedBackbone(CSPDarknet):
    """Whose gradients, by which the library follows a network, are cut off."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return super().forward(images)


def test_parameters_outside_layers_keep_their_channels() -> None:
    detector = Detector(2, ScaledBackbone, partial(PAFPN, depth_multiple=0.33)).eval()
    pruned = prune_channels(detector, 0.5)
    assert share_left(pruned, detector) <= 0.5
    assert pruned.backbone.gain.shape == (64, 1, 1)
    assert pruned.backbone.features.channels[0] == 64
    assert pruned.backbone.stem.conv.out_channels == 8


def test_what_cannot_be_followed() -> None:
    detector = Detector(2, partial(CountingBackbone, 0.33, 0.25), partial(PAFPN, depth_multiple=0.33)).eval()
    with pytest.raises(InputError, match=r"torch-pruning cannot follow this network .* --method magnitude"):
        prune_channels(detector, 0.3)


def test_what_gradients_do_not_reach_stays() -> None:
    detector = Detector(2, partial(DetachedBackbone, 0.33, 0.25), partial(PAFPN, depth_multiple=0.33)).eval()
    pruned = prune_channels(detector, 0.1)
    assert share_left(pruned, detector) <= 0.9
    assert all(name.startswith(("neck.", "head.")) for name in pruned.channels)


def test_a_class_that_chooses_its_parts() -> None:
    with pytest.raises(InputError, match="makes its parts itself"):
        prune_channels(TinyDetector(1, width=32), 0.02, image_size=64)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(InputError, match=r"pip install 'yolo-lightning\[prune\]'"):
        prune_channels(TinyDetector(1), 0.3)


def test_features_are_told(detector: Detector) -> None:
    pruned = prune_channels(detector, 0.5)
    assert pruned.features == FeatureInfo(tuple(conv.in_channels for conv in pruned.head.m), (8, 16, 32))
