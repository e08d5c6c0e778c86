from __future__ import annotations

import copy
import inspect
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from yolo_lightning.models import PAFPN, Backbone, CSPDarknet, Detector, YOLOv5Head, yolov5
from yolo_lightning.models.layers import SPPF, scale_channels, scale_repeats
from yolo_lightning.types import FeatureInfo


class TinyBackbone(Backbone):
    """Two levels of pooling and one convolution each."""

    def __init__(self, width: int = 4, *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.features = FeatureInfo((width, 2 * width), (8, 16))
        self.convs = nn.ModuleList((nn.Conv2d(3, width, 8, 8), nn.Conv2d(width, 2 * width, 2, 2)))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        fine = self.convs[0](images)
        return fine, self.convs[1](fine) * self.scale


def test_detector_is_yolov5s_by_default() -> None:
    with torch.device("meta"):
        ours, named = Detector(), yolov5("s")
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in named.state_dict().items()}
    assert (ours.num_classes, ours.strides) == (80, (8, 16, 32))
    assert ours.features == FeatureInfo((128, 256, 512), (8, 16, 32))


@pytest.mark.parametrize(("size", "image", "rows"), [("n", 640, 25_200), ("n6", 1280, 102_000)])
def test_number_of_rows(size: str, image: int, rows: int) -> None:
    with torch.device("meta"):
        detector = yolov5(size)
        raw = detector(torch.zeros(1, 3, image, image))
    assert sum(level.shape[1:4].numel() for level in raw) == rows


@pytest.mark.parametrize("size", ["", "6", "n7", "n66", "N", "yolov5n", "tiny"])
def test_unknown_sizes_are_refused(size: str) -> None:
    with pytest.raises(ValueError, match="choose one of n, s, m, l, x, n6"):
        yolov5(size)


def test_classes_and_channels_of_images() -> None:
    detector = yolov5("n", num_classes=3, in_channels=1)
    assert detector(torch.zeros(2, 1, 64, 32))[2].shape == (2, 3, 2, 1, 8)


@pytest.mark.parametrize("shape", [(64, 48), (100, 64)])
def test_image_size_must_fit_the_stride(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"image size {shape[0]}×{shape[1]} must be a multiple of .* 32"):
        yolov5("n")(torch.zeros(1, 3, *shape))


def test_levels_are_checked() -> None:
    with pytest.raises(ValueError, match='"P5" or "P6"'):
        CSPDarknet(levels="P7")  # type: ignore[arg-type]


@pytest.mark.parametrize("strides", [(8,), (8, 16, 64), (8, 8)])
def test_neck_needs_strides_that_double(strides: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="strides double"):
        PAFPN(FeatureInfo((8,) * len(strides), strides))


def test_fused_copy_gives_the_same(nano: Detector) -> None:
    images = torch.rand(2, 3, 64, 96)
    nano.eval()
    fused = nano.fuse()
    with torch.inference_mode():
        expected, found, again = nano(images), fused(images), fused.fuse()(images)
    for a, b, c in zip(expected, found, again, strict=True):
        assert torch.allclose(a, b, atol=1e-4, rtol=1e-4)
        assert torch.equal(b, c)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in nano.modules())


def test_fused_copy_leaves_the_training_mode_alone() -> None:
    detector = yolov5("n").train()
    assert not detector.fuse().training
    assert detector.training
    assert all(module.training for module in detector.modules())


def test_channels_last_gives_the_same(nano: Detector) -> None:
    images = torch.rand(2, 3, 64, 96)
    nano.eval()
    with torch.inference_mode():
        expected = nano(images)
        found = nano.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    assert all(torch.allclose(a, b, atol=1e-4, rtol=1e-4) for a, b in zip(expected, found, strict=True))


def test_bfloat16_is_near(nano: Detector) -> None:
    images = torch.rand(1, 3, 64, 64)
    nano.eval()
    with torch.inference_mode():
        expected = nano.decode(nano(images))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = nano.decode(nano(images))
    assert found[0].dtype == torch.float32
    assert torch.allclose(expected[1], found[1], atol=0.05)


def test_every_parameter_learns() -> None:
    detector = yolov5("n", 2)
    sum(level.square().mean() for level in detector(torch.rand(2, 3, 64, 64))).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in detector.parameters())


def test_batch_normalization_is_the_reference_s() -> None:
    norms = [module for module in yolov5("n").modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}


@pytest.mark.parametrize(
    ("repeats", "depth", "expected"),
    [(1, 0.33, 1), (3, 0.33, 1), (3, 0.67, 2), (3, 1.33, 4), (9, 1.33, 12), (3, 0.5, 2)],
)
def test_repeats_are_rounded_half_to_even(repeats: int, depth: float, expected: int) -> None:
    assert scale_repeats(repeats, depth) == expected


@pytest.mark.parametrize(
    ("channels", "width", "expected"), [(64, 0.25, 16), (64, 0.01, 8), (128, 0.33, 48), (64, 1.25, 80)]
)
def test_channels_are_rounded_up_to_eights(channels: int, width: float, expected: int) -> None:
    assert scale_channels(channels, width) == expected


def test_sppf_is_parallel_pooling() -> None:
    sppf, x = SPPF(8, 8).eval(), torch.rand(1, 8, 16, 16)
    with torch.inference_mode():
        start = sppf.cv1(x)
        pools = [nn.functional.max_pool2d(start, size, 1, size // 2) for size in (5, 9, 13)]
        assert torch.equal(sppf(x), sppf.cv2(torch.cat((start, *pools), 1)))


def test_own_backbone_goes_behind_neck_and_head() -> None:
    head = partial(YOLOv5Head, anchors=[[10, 10], [40, 40]])
    detector = Detector(5, backbone=partial(TinyBackbone, 8), head=head)
    raw = detector(torch.rand(1, 3, 32, 64))
    assert [level.shape for level in raw] == [(1, 1, 4, 8, 10), (1, 1, 2, 4, 10)]
    assert detector.decode(raw)[0].shape == (1, 40, 4)


def test_signatures_are_those_of_the_constructors() -> None:
    assert list(inspect.signature(CSPDarknet).parameters) == [
        "depth_multiple",
        "width_multiple",
        "in_channels",
        "levels",
    ]
    assert list(inspect.signature(PAFPN).parameters) == ["features", "depth_multiple"]
    assert list(inspect.signature(TinyBackbone).parameters) == ["width", "scale"]


def test_copies_remember_their_arguments() -> None:
    backbone = TinyBackbone(2, scale=3.0)
    assert backbone.constructor_arguments() == {"width": 2, "scale": 3.0}
    assert copy.deepcopy(backbone).constructor_arguments() == {"width": 2, "scale": 3.0}


def test_exports_as_one_graph(nano: Detector) -> None:
    class Decoded(nn.Module):
        def __init__(self, detector: Detector) -> None:
            super().__init__()
            self.detector = detector

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return self.detector.decode(self.detector(images))

    images = torch.rand(1, 3, 64, 96)
    model = Decoded(nano.fuse())
    exported = torch.export.export(model, (images,)).module()
    for a, b in zip(model(images), exported(images), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
