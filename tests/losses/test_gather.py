from __future__ import annotations

import pytest
import torch

from yolo_lightning.losses.gather import gather_predictions


@pytest.mark.parametrize("num_positives", [0, 1, 40])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_equals_plain_indexing(num_positives, channels_last, dtype):
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, 4, 5, 7)
    memory = torch.randn(2, 4, 5, 21, generator=generator, dtype=torch.float64).to(dtype)
    maps = memory.permute(0, 3, 1, 2) if channels_last else memory.permute(0, 3, 1, 2).contiguous()
    index = tuple(torch.randint(0, size, (num_positives,), generator=generator) for size in shape[:4])
    weights = torch.rand(num_positives, 7, generator=generator), torch.rand(shape[:4], generator=generator)

    def gradient(function):
        leaf = maps.clone(memory_format=torch.preserve_format).requires_grad_()
        raw = leaf.view(2, 3, 7, 4, 5).permute(0, 1, 3, 4, 2)
        predictions, objectness = function(raw)
        ((predictions * weights[0]).sum() + (objectness * weights[1]).sum()).backward()
        return predictions, objectness, leaf.grad

    found = gradient(lambda raw: gather_predictions(raw, index))
    expected = gradient(lambda raw: (raw[index], raw[..., 4]))
    assert found[0].dtype == found[1].dtype == torch.promote_types(dtype, torch.float32)
    assert found[1].is_contiguous()
    for ours, theirs in zip(found[:2], expected[:2], strict=True):
        torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=0, atol=0)
    torch.testing.assert_close(found[2], expected[2])


def test_numerical_gradient():
    raw = torch.randn(1, 2, 2, 2, 6, dtype=torch.float64, requires_grad=True)
    index = tuple(torch.tensor(values) for values in ([0, 0, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1]))
    assert torch.autograd.gradcheck(lambda tensor: gather_predictions(tensor, index), raw)
