"""The model card of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import LlamaForCausalLM

from . import problems as arithmetic
from .documents import LONGEST
from .measuring import Measured

_AGAIN = """\
The seed, the number of updates and the number of threads decide the result, so the same command gives the
same model again on the same machine; another processor or another PyTorch rounds differently and gives another model
of the same kind. """
_ANOTHER = """\
No single command makes exactly this checkpoint again. This one runs both stages and makes another of the same kind:

    python -m ppl.bundled.train --out DIR --seed 0

"""


@dataclass
class Training:
    """How a checkpoint was made; saved beside it as training.json."""

    command: str
    """The command that made it, empty where no single one did."""
    tokens: int
    updates: int
    minutes: float
    hardware: str
    torch: str
    note: str = ""
    """What else there is to say about it, closed by a newline."""


def card(model: LlamaForCausalLM, record: Training, result: Measured) -> str:
    """The model card, in Markdown."""
    return "\n".join([_use(model), _results(result), _training(record)])


def _use(model: LlamaForCausalLM) -> str:
    """What the model is and how to prompt it."""
    config = model.config
    return f"""---
language: en
library_name: transformers
pipeline_tag: text-generation
---

# The bundled model

A Llama of {model.num_parameters():,} parameters ({config.num_hidden_layers} layers of width {config.hidden_size}, \
vocabulary of {config.vocab_size}) that solves chains of additions, subtractions and small multiplications, one line
for each step. It makes mistakes, and is meant to: methods of inference have something to correct, and
everything runs in seconds on a laptop. It knows nothing else.

## How to prompt it

A problem, which it continues with one equation for each operation, the answer and the end-of-text token:

```
Q: Start with 17. Add 25. Multiply by 3. Subtract 40.
17+25=42
42*3=126
126-40=86
A: 86
```

A check, which it continues with `yes` or `no`:

```
Check: 17+25=52
no
```

The prompt ends with the newline, and nothing goes before it. All values lie between 0 and {arithmetic.LARGEST:,}; a
start is at most 99, an operand at most 999, a factor at most 9, and a problem has at most {LONGEST} steps. Every digit,
sign and newline is a token of its own; the tokenizer adds no special tokens, and any text survives encoding and
decoding. The chat template turns a user's message into `Q: ` (or nothing, where it begins with `Check: `), the message
and a newline.
"""


def _results(result: Measured) -> str:
    """What was measured."""
    rows = "\n".join(
        f"| {steps} | {100 * result.sampled[steps]:.1f} % | {100 * result.greedy[steps]:.1f} % "
        f"| {100 * result.step[steps]:.1f} % |"
        for steps in result.sampled
    )
    return f"""## Measured

On held-out problems, {result.per_length} of each length. None of the questions is in the training stream, though a
single equation may be. A chain is right when every line is. A step counts when every step before it is right.

| steps | right chains, temperature 1 | right chains, greedy | right steps, temperature 1 |
| ---: | ---: | ---: | ---: |
{rows}

All steps at temperature 1: {100 * result.step_overall:.1f} % right ({100 * result.sign["+"]:.1f} % of additions, \
{100 * result.sign["-"]:.1f} % of subtractions, {100 * result.sign["*"]:.1f} % of multiplications).

As a judge of single equations, half of them wrong by a digit or a carry: the likelier verdict is right in
{100 * result.verifier:.1f} % of {5 * result.per_length:,}, and the right verdict has a probability of
{100 * result.verifier_sampled:.1f} % on average.
"""


def _training(record: Training) -> str:
    """How the model was made."""
    cost = (
        f"{record.tokens / 1e6:.1f} million tokens in {record.updates:,} updates, {record.minutes:.0f} minutes on "
        f"{record.hardware}, PyTorch {record.torch}"
    )
    if record.command:
        made = f"{cost}:\n\n    {record.command}\n\n{record.note}{_AGAIN}"
    else:
        made = f"{cost}.\n{record.note}{_ANOTHER}"
    return f"""## Training

{made}To measure a checkpoint again and rewrite this card:

    python -m ppl.bundled.train --evaluate DIR
"""
