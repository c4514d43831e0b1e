"""Whether a model's weights fit where they are to go, told before the system or the driver tells it in its own way."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

_GIB = 1 << 30
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
"""Where ``save_pretrained`` puts weights; the first that is there counts."""


def free_bytes(device: str) -> int | None:
    """How much memory a device has left for this process; ``None`` if nobody says.

    Args:
        device: such as "cpu" or "cuda:1".
    """
    if device.startswith("cuda"):
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    if device != "cpu":
        return None
    found = [left for left in (_available(), _left_to_group()) if left is not None]
    return min(found, default=None)


def weight_bytes(folder: Path, dtype: torch.dtype | str) -> int | None:
    """How much memory the weights in a folder take, loaded as ``dtype`` ("auto": as they were saved).

    Returns:
        Bytes; ``None`` if the folder does not tell.
    """
    saved = next((size for size in (_size(folder.glob(pattern)) for pattern in _WEIGHTS) if size), 0)
    if not saved or isinstance(dtype, str):
        return saved or None
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = getattr(torch, str(config.get("dtype") or config.get("torch_dtype")), None)
    if not isinstance(known, torch.dtype) or "quantization_config" in config:
        return None
    return saved * dtype.itemsize // known.itemsize


@contextmanager
def fitting(name: str, needed: int | None, dtype: torch.dtype | str, device: str) -> Iterator[None]:
    """Load weights inside of this, and be told with the numbers if they do not fit.

    Args:
        name: the model, for people.
        needed: what the weights take, as far as it is known.
        dtype: as what they are loaded; "auto": as they were saved.
        device: where they go.

    Raises:
        MemoryError: they do not fit.
    """
    free = free_bytes(device)
    if needed is not None and free is not None and needed > free:
        raise MemoryError(_too_large(name, needed, dtype, device, free))
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not (isinstance(error, MemoryError) or is_out_of_memory(error)):
            raise
        raise MemoryError(_too_large(name, needed, dtype, device, free)) from error


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch says that memory ran out."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(
        sign in text for sign in ("out of memory", "can't allocate memory", "not enough memory")
    )


def memory_problem(error: RuntimeError) -> str:
    """What an error says of memory that ran out; any other error is raised again."""
    if not is_out_of_memory(error):
        raise error
    return str(error).splitlines()[0].rstrip(".")


def size_of(model: Any) -> int:
    """How much memory a loaded model's weights take, in bytes."""
    tensors = (*model.parameters(), *model.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _size(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def _too_large(name: str, needed: int | None, dtype: torch.dtype | str, device: str, free: int | None) -> str:
    size = "more memory" if needed is None else f"{needed / _GIB:,.2f} GiB"
    left = "too little" if free is None else f"{free / _GIB:,.2f} GiB"
    kind = "as they were saved" if isinstance(dtype, str) else f"in {str(dtype).removeprefix('torch.')}"
    half = ""
    if needed is not None and dtype in (torch.float32, torch.float64):
        assert isinstance(dtype, torch.dtype)
        half = f"dtype='bfloat16' ({needed * 2 // dtype.itemsize / _GIB:,.2f} GiB), "
    return (
        f"the weights of {name} take {size} {kind}, and {device} has {left} free. Load it with {half}another device=, "
        "or a smaller model; or start a server that spreads it over several GPUs (vLLM, SGLang), and give load_lm its "
        "URL"
    )


def _available() -> int | None:
    """What the system could give, Linux's way."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _left_to_group() -> int | None:
    """What a container's limit leaves (control groups, version 2)."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = next(
            int(line.split()[1])
            for line in (group / "memory.stat").read_text().splitlines()
            if line.startswith("inactive_file ")
        )
    except (OSError, StopIteration, ValueError):  # no limit reads as "max"
        return None
    return max(0, limit - used + cached)
