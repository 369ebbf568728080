"""Bytes of a batch become floats on the device, in the layout that is asked for."""

from __future__ import annotations

import pytest
import torch

from gem_ray.data.batch import to_float

CPU = torch.device("cpu")


@pytest.mark.parametrize("channels_last", [True, False])
def test_bytes_become_floats_in_the_unit_interval(channels_last):
    x = to_float(torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1), CPU, channels_last)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x.flatten(), torch.tensor([0.0, 0.2, 1.0]))
