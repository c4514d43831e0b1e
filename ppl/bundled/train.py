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
import itertools
import json
import platform
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from . import problems as arithmetic

VOCABULARY = 384
ROW = 256
"""The number of tokens in a training row; several documents share a row without seeing each other."""
CONTEXT = 1024
LONGEST = 12
"""The largest number of steps in training."""
VERDICT_LETTERS = 24
"""The letters of an equation with its verdict, about."""
VERDICT_SHARE = 0.15
"""The share of the text, about, that goes to equations with a verdict."""
PROMPT_WEIGHT = 0.05
"""The weight of a prompt's tokens in the loss, where those of a solution weigh 1."""
UPDATES = (1500, 1200)
"""The number of updates in each of the two stages, if nothing else is asked for."""

Document = list[tuple[str, float]]
"""The pieces of a text, each with the weight of its tokens in the loss."""

PATTERN = r"\p{N}|\n| ?\p{L}+|[^\p{L}\p{N}\n]"
"""Pieces that no token crosses: one digit, one newline, one word with the space before it, one other character."""

ENGLISH = """Think step by step and write one line for each step. What is the result of this? Answer the question with
a number. The answer is right, the answer is wrong. Is this step right or wrong? Say yes or no. You are a helpful
assistant that solves problems in arithmetic. Please check each of the lines, then give the final answer. If there is
a mistake in one of them, say where it is. Do not explain your reasoning; return only the number and nothing else."""
"""Some words that prompts are made of, so that the vocabulary has tokens for more than the training documents."""

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}"
    "{%- if not message['content'].startswith('Check: ') -%}{{- 'Q: ' -}}{%- endif -%}"
    "{{- message['content'] + '\n' -}}"
    "{%- elif message['role'] == 'assistant' -%}{{- message['content'] + eos_token -}}"
    "{%- else -%}{{- message['content'] + '\n' -}}"
    "{%- endif -%}{%- endfor -%}"
)


@dataclass
class Training:
    """How a checkpoint was made; saved beside it as training.json."""

    command: str
    tokens: int
    updates: int
    minutes: float
    hardware: str
    torch: str
    note: str = ""
    """What else there is to say about it, closed by a newline."""


@dataclass
class Measured:
    """What a checkpoint can do on held-out problems.

    Attributes:
        per_length: The number of problems at each length.
        sampled: Share of right chains at temperature 1, by number of steps.
        greedy: Share of right chains with the likeliest token each time, by number of steps.
        step: Share of right steps at temperature 1 among the steps that follow right ones, by number of steps.
        sign: The same for all lengths together, by operation.
        step_overall: The same for all lengths and operations together.
        verifier: Share of equations whose likelier verdict is right.
        verifier_sampled: Mean probability of the right verdict among the two.
    """

    per_length: int
    sampled: dict[int, float] = field(default_factory=dict)
    greedy: dict[int, float] = field(default_factory=dict)
    step: dict[int, float] = field(default_factory=dict)
    sign: dict[str, float] = field(default_factory=dict)
    step_overall: float = 0.0
    verifier: float = 0.0
    verifier_sampled: float = 0.0


# Documents


def verdict_example(made: arithmetic.Problem, rng: random.Random) -> tuple[str, str]:
    """An equation from a problem, right or wrong with equal chance, as a prompt and the verdict to give."""
    line = rng.choice(made.steps)
    if rng.random() < 0.5:
        return arithmetic.check_prompt(line), "yes\n"
    return arithmetic.check_prompt(arithmetic.corrupt(line, rng)), "no\n"


def solution_document(made: arithmetic.Problem) -> Document:
    """A problem with its solution, to train on."""
    return [(made.prompt, PROMPT_WEIGHT), (made.solution, 1.0)]


def verdict_document(made: arithmetic.Problem, rng: random.Random) -> Document:
    """An equation from a problem with its verdict, to train on."""
    prompt, verdict = verdict_example(made, rng)
    return [(prompt, PROMPT_WEIGHT), (verdict, 1.0)]


def judge_document(made: arithmetic.Problem, rng: random.Random) -> Document:
    """An equation with its verdict for the second stage, where half of the wrong results have nothing right in them.

    The result is learned too where it is right: to tell a wrong digit the model has to know the right one.
    """
    line = made.steps[0] if rng.random() < 0.5 else rng.choice(made.steps)
    asked, _, result = line.rpartition("=")
    right = rng.random() < 0.5
    if not right and rng.random() < 0.5:
        line = arithmetic.corrupt(line, rng)
    elif not right:
        least, beyond = (10 ** (len(result) - 1) if len(result) > 1 else 0), 10 ** len(result)
        other = rng.randrange(least, beyond - 1)
        line = f"{asked}={other + (other >= int(result))}"
    shown, verdict = line.rpartition("=")[2], "yes\n" if right else "no\n"
    prompt = arithmetic.check_prompt(f"{asked}=").removesuffix("\n")
    return [(prompt, 0.0), (f"{shown}\n", 0.3 if right else 0.0), (verdict, 3.0)]


def build_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Train the vocabulary: all bytes, so that any text survives, and merges for the words of the documents."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    texts = [made.prompt + made.solution for made in arithmetic.problems(500, (1, 8), seed=seed, split="train")]
    texts += [arithmetic.check_prompt("1+1=2") + verdict for verdict in ("yes\n", "no\n") for _ in range(500)]
    tokenizer.train_from_iterator(
        [*texts, *[ENGLISH.replace("\n", " ")] * 3],
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=["<eos>", "<pad>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<eos>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=CONTEXT,
        chat_template=CHAT_TEMPLATE,
    )


def encode(
    documents: Sequence[Document], tokenizer: PreTrainedTokenizerFast
) -> Iterator[tuple[list[int], list[float]]]:
    """Each document as tokens, closed by the end-of-text token, with the weight of each token in the loss."""
    pieces = iter(tokenizer([text for document in documents for text, _ in document])["input_ids"])
    for document in documents:
        ids: list[int] = []
        weights: list[float] = []
        for _, weight in document:
            piece = next(pieces)
            ids += piece
            weights += [weight] * len(piece)
        yield [*ids, tokenizer.eos_token_id], [0.0, *weights[1:], 1.0]


class Rows:
    """Training rows without end, filled with documents that do not see each other.

    Args:
        tokenizer: Turns the documents into tokens.
        seed: Which stream of documents.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        self.tokenizer = tokenizer
        self.longest = 4
        self.tokens = 0
        self._rng = random.Random(f"{seed}/documents")
        self._problems = arithmetic.stream(self._lengths(), seed, "train")

    def _lengths(self) -> Iterator[int]:
        while True:
            yield self._rng.randint(1, self.longest)

    def _documents(self) -> Iterator[tuple[list[int], list[float]]]:
        """Documents as tokens, each with the weights of its tokens in the loss."""
        while True:
            made = list(itertools.islice(self._problems, 64))
            documents = [solution_document(one) for one in made]
            letters = sum(len(text) for document in documents for text, _ in document)
            wanted = round(letters * VERDICT_SHARE / (1 - VERDICT_SHARE) / VERDICT_LETTERS)
            documents += [verdict_document(self._rng.choice(made), self._rng) for _ in range(wanted)]
            self._rng.shuffle(documents)
            for ids, weights in encode(documents, self.tokenizer):
                if len(ids) <= ROW:
                    yield ids, weights

    def batches(self, rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Batches of tokens, of which document (from 0) a token belongs to, -1 for padding, and of loss weights."""
        documents = self._documents()
        waiting: list[tuple[list[int], list[float]]] = []
        while True:
            tokens = torch.full((rows, ROW), self.tokenizer.pad_token_id)
            owner = torch.full((rows, ROW), -1)
            weights = torch.zeros(rows, ROW)
            for row in range(rows):
                at = 0
                waiting += itertools.islice(documents, 64 - len(waiting))
                for number, (ids, worth) in enumerate(tuple(waiting)):
                    end = at + len(ids)
                    if end <= ROW:
                        tokens[row, at:end] = torch.tensor(ids)
                        owner[row, at:end] = number
                        weights[row, at:end] = torch.tensor(worth)
                        waiting.remove((ids, worth))
                        at = end
                self.tokens += at
            yield tokens, owner, weights


# Training


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model for the vocabulary of a tokenizer."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


class Trainer:
    """Updates of a model, at a rate that depends on how many of them are done.

    Args:
        model: The model; what does not require a gradient stays as it is.
        limit: The number of updates to make.
        rate: The highest learning rate.
        warmup: The number of updates until it is reached.
    """

    def __init__(self, model: LlamaForCausalLM, limit: int, rate: float, warmup: int) -> None:
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        inside = {id(weight) for weight in model.model.layers.parameters() if weight.ndim == 2}
        matrices = [weight for weight in trained if id(weight) in inside]
        others = [weight for weight in trained if id(weight) not in inside]
        self.trained = trained
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.limit, self.rate, self.warmup = limit, rate, warmup
        self.updates = 0
        self._began = self._shown = time.monotonic()
        self._recent: list[float] = []

    @property
    def seconds(self) -> float:
        """How long it has trained."""
        return time.monotonic() - self._began

    @property
    def done(self) -> float:
        """The share of its updates that are made."""
        return self.updates / self.limit

    def update(self, logits: torch.Tensor, tokens: torch.Tensor, weights: torch.Tensor) -> None:
        """Make one update for the weighted loss of the tokens under the logits."""
        guesses = logits[:, :-1].float().flatten(0, 1)
        losses = functional.cross_entropy(guesses, tokens[:, 1:].flatten(), reduction="none")
        weight = weights[:, 1:].flatten()
        loss = (losses * weight).sum() / weight.sum()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate * min(1.0, (self.updates + 1) / self.warmup) * min(1.0, 1.5 * (1 - self.done))
            optimizer.step()
            optimizer.zero_grad()
        self.updates += 1
        self._recent.append(loss.item())
        if time.monotonic() - self._shown > 20:
            average, self._shown = sum(self._recent) / len(self._recent), time.monotonic()
            self._recent.clear()
            print(f"{100 * self.done:3.0f} %  {self.updates} updates  loss {average:.4f}", flush=True)


def teach_problems(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, trainer: Trainer, seed: int, rows: int, compiled: bool
) -> int:
    """The first stage: problems, which become longer, and some equations with verdicts.

    Returns:
        The number of tokens that were seen.
    """
    forward: Any = torch.compile(model) if compiled else model
    causal = torch.ones(ROW, ROW, dtype=torch.bool, device=model.device).tril()
    source = Rows(tokenizer, seed)
    for batch in source.batches(rows):
        source.longest = min(LONGEST, 4 + int(40 * trainer.done))
        tokens, owner, weights = (part.to(model.device) for part in batch)
        mask = (owner[:, None, :, None] == owner[:, None, None, :]) & causal
        with torch.autocast(model.device.type, torch.bfloat16):
            logits = forward(input_ids=tokens, attention_mask=mask, use_cache=False).logits
        trainer.update(logits, tokens, weights)
        if trainer.done >= 1:
            break
    return source.tokens


def grown(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """The model with two more layers, which change nothing yet; only they and the layer before them are trained.

    A verdict compares a result with the one that the model would have written itself, so it needs layers behind
    those that work out the result. The new ones start as copies of the first two with nothing to add.
    """
    config = LlamaConfig(**(model.config.to_dict() | {"num_hidden_layers": model.config.num_hidden_layers + 2}))
    larger = LlamaForCausalLM(config)
    larger.load_state_dict(model.state_dict(), strict=False)
    larger.generation_config = model.generation_config
    layers: Any = larger.model.layers
    for new, old in zip(layers[-2:], layers[:2], strict=True):
        new.load_state_dict(old.state_dict())
        torch.nn.init.zeros_(new.self_attn.o_proj.weight)
        torch.nn.init.zeros_(new.mlp.down_proj.weight)
    larger.requires_grad_(False)
    layers[-3:].requires_grad_(True)
    larger.to(model.device)  # type: ignore[arg-type]
    return larger


def teach_verdicts(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, trainer: Trainer, seed: int) -> int:
    """The second stage: equations with verdicts, and every fourth time problems, so that those are not forgotten.

    Returns:
        The number of tokens that were seen.
    """
    rng = random.Random(f"{seed}/verdicts")
    made = arithmetic.stream((rng.randint(1, 10) for _ in itertools.count()), seed + 1, "train")
    seen = 0
    while trainer.done < 1:
        if trainer.updates % 4 == 3:
            steps = itertools.repeat(rng.randint(2, 10), 16)
            chains = arithmetic.stream(steps, rng.randrange(10**9), "train")
            documents: list[Document] = [[(chain.prompt, 0.0), (chain.solution, 1.0)] for chain in chains]
        else:
            chosen = [one for one in itertools.islice(made, 50) for _ in range(4)]
            documents = [judge_document(one, rng) for one in chosen]
        encoded = list(encode(documents, tokenizer))
        seen += sum(len(ids) for ids, _ in encoded)
        width = max(len(ids) for ids, _ in encoded)
        tokens = torch.tensor([ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids, _ in encoded])
        weights = torch.tensor([worth + [0.0] * (width - len(worth)) for _, worth in encoded])
        with torch.autocast(model.device.type, torch.bfloat16):
            logits = model(input_ids=tokens.to(model.device), use_cache=False).logits
        trainer.update(logits, tokens.to(model.device), weights.to(model.device))
    return seen


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
    model = grown(model)
    second = Trainer(model, updates[1], rate=5e-3, warmup=50)
    tokens += teach_verdicts(model, tokenizer, second, seed)
    save(model, tokenizer, out)
    hardware = f"{torch.get_num_threads()} CPU cores" if device == "cpu" else torch.cuda.get_device_name(device)
    record = Training(
        command=f"python -m ppl.bundled.train {' '.join(sys.argv[1:])}",
        tokens=tokens,
        updates=first.updates + second.updates,
        minutes=(first.seconds + second.seconds) / 60,
        hardware=f"{hardware} ({platform.machine()})",
        torch=torch.__version__.partition("+")[0],
    )
    (out / "training.json").write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Save a model and its tokenizer so that older releases of transformers load them too."""
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    settings = out / "tokenizer_config.json"
    changed = json.loads(settings.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings.write_text(json.dumps(changed, indent=2) + "\n", encoding="utf-8")
    for file in out.iterdir():
        file.chmod(0o644)


# Measuring


def complete(
    model: Any, tokenizer: Any, prompts: Sequence[str], tokens: int, sample: bool = True, batch: int = 200
) -> list[str]:
    """Let the model continue prompts.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        prompts: The texts to continue.
        tokens: The most tokens to write for each.
        sample: Sample at temperature 1; otherwise take the likeliest token each time.
        batch: How many prompts to continue at once.

    Returns:
        What the model wrote after each prompt, without special tokens.
    """
    texts: list[str] = []
    for first in range(0, len(prompts), batch):
        encoded = tokenizer(list(prompts[first : first + batch]), return_tensors="pt", padding=True).to(model.device)
        choice: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_k": 0} if sample else {"do_sample": False}
        with torch.inference_mode():
            written = model.generate(
                input_ids=encoded["input_ids"],
                attention_mask=encoded["attention_mask"],
                max_new_tokens=tokens,
                **choice,
            )
        texts += tokenizer.batch_decode(written[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def verdict_odds(model: Any, tokenizer: Any, prompts: Sequence[str]) -> list[float]:
    """The probability of "yes" against "no" after each prompt of `ppl.bundled.problems.check_prompt`."""
    yes, no = (tokenizer(word)["input_ids"][0] for word in ("yes", "no"))
    encoded = tokenizer(list(prompts), return_tensors="pt", padding=True).to(model.device)
    with torch.inference_mode():
        logits = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits[:, -1]
    odds: list[float] = logits[:, [yes, no]].softmax(-1)[:, 0].tolist()
    return odds


def measure(model: Any, tokenizer: Any, per_length: int = 200, lengths: Sequence[int] = range(1, 13)) -> Measured:
    """Measure a model on held-out problems; the same problems and the same random numbers each time.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        per_length: The number of problems for each number of steps, and a tenth of that of equations to judge.
        lengths: The numbers of steps.

    Returns:
        The measured shares.
    """
    result = Measured(per_length)
    tried: dict[str, list[int]] = {sign: [0, 0] for sign in "+-*"}
    torch.manual_seed(0)
    for steps in lengths:
        chains = arithmetic.problems(per_length, steps, seed=0)
        prompts = [chain.prompt for chain in chains]
        room = 16 * (steps + 1)
        texts = complete(model, tokenizer, prompts, room)
        right = [0, 0]
        for chain, text in zip(chains, texts, strict=True):
            for step, written in itertools.zip_longest(chain.steps, text.split("\n")[:steps]):
                sign = next(letter for letter in step if letter in tried)
                for count in (right, tried[sign]):
                    count[0] += step == written
                    count[1] += 1
                if step != written:
                    break
        result.sampled[steps] = sum(map(str.__eq__, texts, [chain.solution for chain in chains])) / per_length
        result.step[steps] = right[0] / right[1]
        texts = complete(model, tokenizer, prompts, room, sample=False)
        result.greedy[steps] = sum(map(str.__eq__, texts, [chain.solution for chain in chains])) / per_length
    result.sign = {sign: good / max(1, both) for sign, (good, both) in tried.items()}
    result.step_overall = sum(good for good, _ in tried.values()) / sum(both for _, both in tried.values())
    rng = random.Random(0)
    asked = [verdict_example(made, rng) for made in arithmetic.problems(5 * per_length, (1, 10), seed=1)]
    odds = verdict_odds(model, tokenizer, [prompt for prompt, _ in asked])
    given = [odd if verdict == "yes\n" else 1 - odd for odd, (_, verdict) in zip(odds, asked, strict=True)]
    result.verifier = sum(odd > 0.5 for odd in given) / len(given)
    result.verifier_sampled = sum(given) / len(given)
    return result


def card(model: LlamaForCausalLM, record: Training, result: Measured) -> str:
    """The model card, in Markdown."""
    config = model.config
    rows = "\n".join(
        f"| {steps} | {100 * result.sampled[steps]:.1f} % | {100 * result.greedy[steps]:.1f} % "
        f"| {100 * result.step[steps]:.1f} % |"
        for steps in result.sampled
    )
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

## Measured

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

## Training

{record.tokens / 1e6:.1f} million tokens in {record.updates:,} updates, {record.minutes:.0f} minutes on \
{record.hardware}, PyTorch {record.torch}:

    {record.command}

{record.note}The seed, the number of updates and the number of threads decide the result, so the same command gives the
same model again on the same machine; another processor or another PyTorch rounds differently and gives another model
of the same kind. To measure a checkpoint again and rewrite this card:

    python -m ppl.bundled.train --evaluate DIR
"""


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
    parser.add_argument("--device", default="cpu", help="where to compute")
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
