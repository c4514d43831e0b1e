"""The bundled model and its two stages of training."""

from __future__ import annotations

import itertools
import json
import random
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from . import problems as arithmetic
from .documents import CONTEXT, LONGEST, ROW, Document, Rows, encode, judge_document


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
        """The time since it began."""
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


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Save a model and its tokenizer so that older releases of transformers load them too."""
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    settings = out / "tokenizer_config.json"
    changed = json.loads(settings.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings.write_text(json.dumps(changed, indent=2) + "\n", encoding="utf-8")
    for file in out.iterdir():
        file.chmod(0o644)
