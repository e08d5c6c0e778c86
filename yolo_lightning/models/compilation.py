"""Networks compiled by PyTorch."""

from __future__ import annotations

import torch

from yolo_lightning.models.detector import Detector

__all__ = ["compile_detector"]


def compile_detector(detector: Detector, *, dynamic: bool | None = None) -> None:
    """Compiles a network when it first runs, in place: no wrapper, whose name would be in every key of a checkpoint.

    Args:
        detector: The network.
        dynamic: As for ``torch.compile``: False compiles for each shape of images; None does so for the first, and then
            for all.
    """
    # On GPUs this analysis of PyTorch fails at the pooling of SPPF once sizes vary (seen with 2.11).
    analysis = "triton.coalesce_tiling_analysis"
    known: list[str] = torch._inductor.list_options()
    detector.compile(options={analysis: False} if analysis in known else {}, dynamic=dynamic)
