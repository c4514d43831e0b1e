"""How Triton kernels are launched here: compiled when first needed, on the device of what they are given."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import triton.language as tl

_VARYING = ("rows",)
"""Arguments that change from step to step. Others may be compiled in as multiples of 16."""


@cache
def available(device: torch.device) -> bool:
    """Whether kernels run on a device: tried out, since triton needs a C compiler and a place to write too."""
    if device.type != "cuda" or find_spec("triton") is None:
        return False
    number = torch.zeros(1, dtype=torch.int32, device=device)
    try:
        launch(_one, (1,), number)
        return number.item() == 1
    except Exception:  # whatever it lacks, torch's own operations do
        return False


def _one(number: tl.tensor) -> None:
    tl.store(number, 1)


def launch(kernel: Callable[..., None], grid: tuple[int, ...], *args: Any, **sizes: int) -> None:
    """Launch a kernel on the device of its first argument: triton would take the current one."""
    with torch.cuda.device_of(args[0]):
        _jitted(kernel)[grid](*args, **sizes)


def power_of_two(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << (n - 1).bit_length()


@cache
def _jitted(kernel: Callable[..., None]) -> Any:
    """A kernel for triton, which is imported here because importing it takes a while and few need it."""
    triton = import_module("triton")
    kernel.__globals__["tl"] = import_module("triton.language")  # where triton looks for what a kernel uses
    return triton.jit(kernel, do_not_specialize=_VARYING)
