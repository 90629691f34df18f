"""Convolutions that crash in torch do not, and give what torch gives where it does not."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nas.nn.convolution import convolved
from search_spaces.graphs.operators import Conv2d

TRAINING = """
import sys, torch
from nas.nn.convolution import convolved
from search_spaces.graphs.operators import Conv2d
torch.set_num_threads(1)
for channels in (1, 2, 3, 4, 5, 7, 9, 15):
    op = Conv2d(16, (1, 1), (2, 2))
    weight = torch.randn(16, channels, 1, 1, requires_grad=True)
    x = torch.randn(60, channels, 16, 16).to(memory_format=torch.channels_last).requires_grad_()
    kept = []
    for step in range(20):
        convolved(op, x, weight, None, (0, 0)).square().mean().backward()
        kept = [*kept[-3:], torch.randn(60, channels, 8, 8 + step % 3)]  # finds a broken heap
"""


def test_strided_points_of_few_channels_train_without_a_crash() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRAINING], cwd=Path(__file__).parents[3], capture_output=True
    )

    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("channels", [8, 12, 15])  # of which torch keeps its heap on AVX2
@pytest.mark.parametrize("stride", [(2, 2), (2, 1), (3, 2)])
def test_picked_pixels_give_torchs_values_and_gradients(
    channels: int, stride: tuple[int, int]
) -> None:
    op = Conv2d(8, (1, 1), stride)
    weight = torch.randn(8, channels, 1, 1)
    x = torch.randn(6, channels, 11, 16)  # in torch's own order, in which it never crashes

    def values(convolution: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor | None, ...]:
        inputs = (x.clone().requires_grad_(), weight.clone().requires_grad_())
        made = convolution(*inputs)
        torch.autograd.backward([made.square().sum()])
        return (made.detach(), *(each.grad for each in inputs))

    ours = values(lambda x, w: convolved(op, x, w, None))
    torchs = values(lambda x, w: functional.conv2d(x, w, None, stride))

    for one, other in zip(ours, torchs, strict=True):
        assert one is not None
        assert other is not None
        assert (one - other).abs().max() <= 1e-6 * other.abs().max()
