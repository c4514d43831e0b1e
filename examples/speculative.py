"""A draft model proposes, the model itself corrects: the same posterior, and the large model reads whole lines at once.

A small model writes each line token by token; the large one weighs the whole line in one call, and the weight of a run
is corrected by p(line) / q(line). The law is the large model's own, exactly, whatever the draft is worth: a bad draft
costs particles, not truth. `certificate()` checks that on a pair of small tables, over every outcome.

The draft here is the large model without its last layers, in the same tokens: text has a probability for each way to
cut it into tokens, so a draft with another tokenizer is refused. What it buys is in benchmarks/RESULTS.md
(`make bench-speculative`).
"""

from __future__ import annotations

import copy
from typing import Any

from torch.nn import ModuleList

from ppl import Posterior, condition, infer, load_lm, program, sample, table_lm, validate
from ppl.bundled import model_path
from ppl.bundled.problems import arithmetic_holds
from ppl.lm import LM

QUESTION = "Start with 49. Add 74. Subtract 105. Multiply by 8. Add 27."


def cut(layers: int) -> LM:
    """The bundled model with its first layers alone: a model with a cache and batches of its own.

    Args:
        layers: how many of the six to keep.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(model_path())
    model.model.layers = ModuleList(copy.copy(model.model.layers[:layers]))
    model.config.num_hidden_layers = layers
    return load_lm((model, AutoTokenizer.from_pretrained(model_path())))


@program
def solve(lm: LM, question: str) -> str:
    """The model alone."""
    thought, line = lm.context(f"Q: {question}\n"), ""
    for _ in range(8):
        line = sample(thought.line(max_tokens=24))
        thought = thought + line
        if line.startswith("A:"):
            break
        condition(arithmetic_holds(line))
    return line.removeprefix("A:").strip()


@program
def drafted(lm: LM, draft: LM, question: str) -> str:
    """The same program, its lines proposed by a draft that has read what the model has."""
    thought, sketch, line = lm.context(f"Q: {question}\n"), draft.context(f"Q: {question}\n"), ""
    for _ in range(8):
        line = sample(thought.line(max_tokens=24), proposal=sketch.line(max_tokens=24))
        thought, sketch = thought + line, sketch + line
        if line.startswith("A:"):
            break
        condition(arithmetic_holds(line))
    return line.removeprefix("A:").strip()


def certificate() -> Any:
    """The law of drafts, exactly: E[Z f] is that of the target alone, for every trace."""
    vocabulary = ["a", "b", "ab", "\n"]
    lm, draft = table_lm(vocabulary, seed=0), table_lm(vocabulary, seed=1)

    @program
    def lines() -> str:
        thought, sketch, text = lm.context("a"), draft.context("a"), ""
        for _ in range(2):
            line = sample(thought.line(max_tokens=2), proposal=sketch.line(max_tokens=2))
            thought, sketch, text = thought + line, sketch + line, text + line
            condition("b" in line)
        return text

    return validate(lines, method="smc", n=1)


def run(layers: int | None, n: int = 32, seed: int = 0) -> Posterior:
    """Solve the problem, with a draft of so many layers or with none."""
    lm = load_lm()
    lm.model.clear_cache()  # type: ignore[attr-defined]
    if layers is None:
        return infer(solve, lm, QUESTION, method="smc", n=n, seed=seed)
    return infer(drafted, lm, cut(layers), QUESTION, method="smc", n=n, seed=seed)


def main() -> None:
    checked = certificate()
    print(f"{checked.law}: {'holds' if checked else 'does not hold'}, largest error {checked.error:.1g}\n")
    print(f"{'draft':>9} {'mode':>5} {'log evidence':>13} {'ESS':>6} {'calls of the model':>19} {'of the draft':>13}")
    for layers in (None, 5, 4):
        posterior = run(layers)
        calls = {name: used.forwards for name, used in posterior.cost.models.items()}
        model = calls.pop("bundled")
        title = "none" if layers is None else f"{layers} layers"
        print(f"{title:>9} {posterior.mode():>5} {posterior.log_evidence:13.3f} {posterior.ess:6.1f}", end="")
        print(f"{model:20} {sum(calls.values()):13}")
    print(f"\nthe answer is {(49 + 74 - 105) * 8 + 27}")


if __name__ == "__main__":
    main()
