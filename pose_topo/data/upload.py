"""NumPy arrays to the device without making the host wait for it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def upload(array: NDArray, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """The array as a tensor on the device.

    To a GPU it goes through pinned memory, asynchronously: a copy from ordinary memory would wait for all steps queued
    before it. The pinned block is kept until the copy is done (PyTorch's caching allocator sees to that).
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if dtype is not None:
        tensor = tensor.to(dtype)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
