"""The small language model that ships with the package, and the problems that it was trained on.

`model_path` says where the checkpoint lies, `problems` makes and checks the arithmetic problems that it can
solve (`ppl.bundled.problems`), and `python -m ppl.bundled.train` trains it anew.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["model_path"]


def model_path() -> Path:
    """Where the shipped checkpoint lies.

    Returns:
        The folder with the weights and the tokenizer, in Hugging Face format; give it to
        `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained`.
    """
    return Path(__file__).resolve().parent / "model"
