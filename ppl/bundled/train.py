"""Train the small model that ships with the package, measure it, and write its model card.

    python -m ppl.bundled.train --out DIR --seed 0     train, save, measure, write the card
    python -m ppl.bundled.train --evaluate DIR         measure a saved checkpoint, rewrite the card

The model is a Llama of about a million parameters over a small byte-level vocabulary in which every digit is one
token. It learns two kinds of documents, each in a context of its own: problems with their solutions, and equations
with the verdict "yes" or "no" (see `ppl.bundled.problems`). The first stage teaches the problems; then the model grows
by two layers and learns to judge what the others work out. Each stage makes a fixed number of updates, so the same
command gives the same model again on the same machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from .card import Training, card
from .documents import ROW, build_tokenizer
from .measuring import Measured, measure
from .training import Trainer, grown, new_model, save, teach_problems, teach_verdicts

UPDATES = (1500, 1200)
"""The number of updates in each of the two stages, if nothing else is asked for."""


def train(out: Path, updates: Sequence[int], seed: int, rows: int, device: str, compiled: bool) -> None:
    """Train a model in two stages and save it with its tokenizer.

    Args:
        out: The folder to save in.
        updates: The number of updates in each stage.
        seed: The seed of the weights and of the documents.
        rows: The number of rows in a batch of the first stage.
        device: Where to train.
        compiled: Whether to compile the model in the first stage, which is faster but needs a C++ compiler.
    """
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(seed)
    model = new_model(tokenizer)
    model.to(device)  # type: ignore[arg-type]
    first = Trainer(model, updates[0], rate=1e-2, warmup=100)
    tokens = teach_problems(model, tokenizer, first, seed, rows, compiled)
    seconds = first.seconds
    model = grown(model)
    second = Trainer(model, updates[1], rate=5e-3, warmup=50)
    tokens += teach_verdicts(model, tokenizer, second, seed)
    seconds += second.seconds
    save(model, tokenizer, out)
    hardware = f"{torch.get_num_threads()} CPU cores" if device == "cpu" else torch.cuda.get_device_name(device)
    record = Training(
        command=f"python -m ppl.bundled.train {' '.join(sys.argv[1:])}",
        tokens=tokens,
        updates=first.updates + second.updates,
        minutes=seconds / 60,
        hardware=f"{hardware} ({platform.machine()})",
        torch=torch.__version__.partition("+")[0],
    )
    (out / "training.json").write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")


def evaluate(folder: Path, per_length: int = 200, device: str = "cpu") -> Measured:
    """Measure a saved checkpoint and write its model card.

    Args:
        folder: The folder that `train` saved in.
        per_length: The number of problems for each number of steps.
        device: Where to compute.

    Returns:
        What was measured.
    """
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    result = measure(model, tokenizer, per_length)
    record = Training(**json.loads((folder / "training.json").read_text(encoding="utf-8")))
    (folder / "README.md").write_text(card(model, record, result), encoding="utf-8")
    print(json.dumps(asdict(result), indent=2))
    return result


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m ppl.bundled.train", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="train, and save in this folder")
    parser.add_argument(
        "--updates", type=int, nargs=2, default=UPDATES, metavar="N", help="the number of updates in each stage"
    )
    parser.add_argument("--seed", type=int, default=0, help="the seed of the weights and of the documents")
    parser.add_argument("--rows", type=int, default=16, help=f"rows of {ROW} tokens in a batch")
    parser.add_argument("--compile", action="store_true", help="compile the model: faster, needs a C++ compiler")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads; the result depends on their number")
    parser.add_argument("--evaluate", type=Path, metavar="DIR", help="measure the checkpoint in this folder instead")
    chosen = parser.parse_args()
    if (chosen.out is None) == (chosen.evaluate is None):
        parser.error("give either --out or --evaluate")
    torch.set_num_threads(chosen.threads)
    if chosen.out is not None:
        train(chosen.out, chosen.updates, chosen.seed, chosen.rows, chosen.device, chosen.compile)
    evaluate(chosen.out or chosen.evaluate, device=chosen.device)


if __name__ == "__main__":
    main()
