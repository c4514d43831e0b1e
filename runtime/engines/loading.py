"""Loading a ``transformers`` model and its tokenizer from a folder or from the hub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

from .memory import fitting, size_of, weight_bytes
from .transformers import TransformersModel

_NOT_CAUSAL = re.compile(r"Unrecognized configuration class <class '[\w.]*?(\w+)'>")
"""How transformers says so, before it lists all of those that it has."""


def load_transformers(
    path_or_name: str | os.PathLike[str],
    *,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    cache_bytes: int | None = None,
    max_batch: int | None = None,
    ahead: int | None = None,
    bos: int | None = None,
) -> TransformersModel:
    """Load a model and its tokenizer.

    Args:
        path_or_name: a folder with a saved model, or a name on the Hugging Face hub.
        device: where to run; "auto" is a GPU if there is one.
        dtype: "float32", "bfloat16", "float16"; "auto" is float32 on a CPU and otherwise what was saved.
        cache_bytes: memory for cached keys and values; by default half of a GPU's free memory, 2 GiB elsewhere.
        max_batch: the most rows of a forward pass; by default 1024 on a GPU, 256 elsewhere.
        ahead: how many tokens to draw for each text without looking; by default 8 on a GPU, 1 elsewhere.
        bos: the id that implicitly precedes every path; by default the one the tokenizer puts before every text.

    Raises:
        OSError: there is no such model, or its weights are damaged.
        ValueError: ``dtype`` is not a floating-point type of torch, or the model is no causal language model.
        MemoryError: the weights do not fit on the device; with the numbers.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if isinstance(dtype, torch.dtype):
        dtype = str(dtype).removeprefix("torch.")
    if dtype == "auto":
        wanted: Any = torch.float32 if device == "cpu" else "auto"
    else:
        wanted = getattr(torch, dtype, None)
        if not isinstance(wanted, torch.dtype) or not wanted.is_floating_point:
            raise ValueError(f"dtype {dtype!r} is not a floating-point type of torch; use for example 'float32'")
    name = os.fspath(path_or_name)
    folder = Path(name)
    needed = weight_bytes(folder, wanted) if folder.is_dir() else None
    # On their way to another device the weights pass through this process's memory, mapped from their files.
    try:
        with _no_progress_bar(), fitting(name, needed if device == "cpu" else None, wanted, "cpu"):
            loaded: Any = AutoModelForCausalLM.from_pretrained(name, dtype=wanted, output_loading_info=True)
    except SafetensorError as error:
        raise OSError(
            f"the weights of {name} are damaged or were not copied whole ({error}): get its .safetensors files again"
        ) from error
    except ValueError as error:
        kind = _NOT_CAUSAL.match(str(error))
        if kind is None:
            raise
        raise ValueError(
            f"{name} has a {kind[1]}, for which transformers has no causal language model; texts are drawn from such "
            "models only, token by token (Llama, Qwen, GPT and the like)"
        ) from None
    model, told = loaded
    missing = sorted(told["missing_keys"])
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ValueError(
            f"{name} holds no weights for {', '.join(missing[:3])}{more} of a {type(model).__name__}: they would be "
            "made up. A reward model or an embedding model writes no text; or a file was not copied"
        )
    with fitting(name, size_of(model) if device != "cpu" else None, model.dtype, device):
        model.to(device)
    # A folder may hold a model alone; a name on the hub without a tokenizer is an error.
    alone = Path(name).is_dir() and not any(_is_tokenizer_file(file.name) for file in Path(name).iterdir())
    tokenizer = None if alone else AutoTokenizer.from_pretrained(name)
    return TransformersModel(
        model, tokenizer, bos=bos, cache_bytes=cache_bytes, max_batch=max_batch, ahead=ahead, own=True
    )


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Reading weights from disk is no event; a bar in the middle of a user's output is."""
    shown = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            enable_progress_bar()


def _is_tokenizer_file(name: str) -> bool:
    return name.startswith(("tokenizer", "vocab", "spiece")) or name.endswith((".tiktoken", "tekken.json"))
