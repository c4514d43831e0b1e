"""Decoding with particles against ``generate`` of transformers, on a random 6-layer, 256-wide Llama.

    python benchmarks/decoding.py [--no-write]

- *decoding*: 32 particles of 64 tokens after a prompt of 20, a soft factor at each token, resampling; against
  ``generate(num_return_sequences=32)``, which has neither. Paired runs in one process, one thread.
- *masks*: the same, each token drawn among those that go on a word of a regular expression, with the mass of these in
  the weight; against ours without.
- *long prompts*: 64 particles after a prompt of 1,000 tokens, against a prompt of 50, and the same for ``generate``:
  time for the tokens once the prompt is computed.

Prints tables, and writes them into ``benchmarks/RESULTS.md``. Takes about three minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import torch
from results import machine, once, paired, table, write_section
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from ppl import Program, factor, infer, load_lm, program, sample
from ppl.constraints import Matches
from ppl.context import Context
from ppl.lm import LM
from ppl.runtime.engines.model import LogitModel
from ppl.runtime.engines.transformers import TransformersModel

VOCABULARY = 2048
PARTICLES, TOKENS, PROMPT = 32, 64, 20
LONG, SHORT, MANY = 1000, 50, 64


def random_llama() -> LlamaForCausalLM:
    """The model: 5 million parameters, no token that ends a text."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=2048,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


class Unread(TransformersModel):
    """The engine's model, with a Chinese character for each token in place of a tokenizer.

    Attributes:
        first: the character that stands for token 0.
    """

    first = 0x4E00

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(ord(character) - self.first for character in text)

    def decode_bytes(self, token: int) -> bytes:
        return chr(self.first + token).encode()


def prompt_of(length: int, vocabulary: int = VOCABULARY, first: int = 11) -> list[int]:
    """A prompt of so many tokens."""
    return [(37 * i + first) % vocabulary for i in range(length)]


def context_of(lm: LM, prompt: Sequence[int]) -> Context:
    """A prompt as text, for a model of :class:`Unread`'s kind."""
    return lm.context(b"".join(map(lm.model.decode_bytes, prompt)).decode())


def generate(model: PreTrainedModel, prompt: Sequence[int], particles: int, tokens: int) -> None:
    """``generate`` of transformers for so many texts of one length."""
    ids = torch.tensor([list(prompt)], device=model.device)
    with torch.inference_mode():
        model.set_attn_implementation("sdpa")
        model.generate(  # type: ignore[operator]
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            top_k=0,
            num_return_sequences=particles,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
        )


def lm_over(model: LlamaForCausalLM) -> LM:
    over: LogitModel = Unread(model)
    return load_lm(over)


def steps(lm: LM, prompt: list[int]) -> Program:
    """A program that writes tokens one by one, each with evidence."""
    start = context_of(lm, prompt)

    @program
    def write(count: int) -> int:
        context = start
        even = 0
        for _ in range(count):
            token = sample(context.token())
            context = context + token
            even += token.tokens[0] % 2
            factor(-0.3 * (token.tokens[0] % 2))
        return even

    return write


def masked_steps(lm: LM, prompt: list[int]) -> Program:
    """The same, each token held to half of the vocabulary, and the mass of that half in the weight."""
    start = context_of(lm, prompt)
    half = "".join(chr(0x4E00 + token) for token in range(0, VOCABULARY, 2))
    word = Matches(f"[{half}]+")

    @program
    def write(count: int) -> int:
        context = start
        even = 0
        for _ in range(count):
            one = context.text(max_tokens=1)
            token = sample(one, proposal=one.restricted(word))
            context = context + token
            even += token.tokens[0] % 2
            factor(-0.3 * (token.tokens[0] % 4))
        return even

    return write


def masks(model: LlamaForCausalLM, repeats: int) -> tuple[float, float]:
    """Seconds without a mask and with one at each step."""
    prompt = prompt_of(PROMPT)
    lm = lm_over(model)
    runs = []
    for write in (steps(lm, prompt), masked_steps(lm, prompt)):

        def run(write: Program = write) -> None:
            lm.model.clear_cache()  # type: ignore[attr-defined]
            infer(write, TOKENS, method="smc", n=PARTICLES, seed=0)

        run()
        runs.append(run)
    return paired(runs[0], runs[1], repeats)


def decoding(model: LlamaForCausalLM, repeats: int) -> tuple[float, float, int, int]:
    """Seconds of ours and of generate's, and positions computed by each."""
    prompt = prompt_of(PROMPT)
    lm = lm_over(model)
    write = steps(lm, prompt)

    def ours() -> None:
        lm.model.clear_cache()  # type: ignore[attr-defined]
        infer(write, TOKENS, method="smc", n=PARTICLES, seed=0)

    def theirs() -> None:
        generate(model, prompt, PARTICLES, TOKENS)

    ours()
    theirs()
    before = lm.model.usage.positions
    ours()
    positions = lm.model.usage.positions - before
    mine, other = paired(ours, theirs, repeats)
    return mine, other, positions, PARTICLES * (PROMPT + TOKENS - 1)


def long_prompts(model: LlamaForCausalLM) -> tuple[float, float]:
    """Seconds for the tokens of many particles after a short prompt and after a long one, the prompt computed."""
    times: list[Callable[[], float]] = []
    for length in (SHORT, LONG):
        lm = lm_over(model)
        write = steps(lm, prompt_of(length))
        infer(write, TOKENS, n=MANY, seed=0)
        times.append(lambda write=write: once(lambda: infer(write, TOKENS, n=MANY, seed=1)))  # type: ignore[misc]
    rounds = [(times[0](), times[1]()) for _ in range(4)]
    return min(a for a, _ in rounds), min(b for _, b in rounds)


def generated_after(model: LlamaForCausalLM, length: int) -> tuple[float, float]:
    """Seconds of ``generate`` for the tokens of many texts after a prompt, and for the prompt with one token."""
    prompt = prompt_of(length)
    first, whole = (once(lambda tokens=tokens: generate(model, prompt, MANY, tokens)) for tokens in (1, TOKENS))  # type: ignore[misc]
    return whole - first, first


def attention_share(config: LlamaConfig) -> float:
    """Multiplications of a token's attention to the long prompt, over all others that it takes in the model."""
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    rest = layers * (4 * width * width + 3 * width * inner) + width * VOCABULARY
    return layers * 2 * LONG * width / rest


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--no-write", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = random_llama()
    mine, other, positions, theirs = decoding(model, options.repeats)
    free, masked = masks(model, options.repeats)
    short, long = long_prompts(model)
    (their_short, short_prompt), (their_long, long_prompt) = (
        generated_after(model, length) for length in (SHORT, LONG)
    )
    text = "\n\n".join(
        (
            "## Decoding",
            f"`python benchmarks/decoding.py`: {machine()}.",
            table(
                (f"{PARTICLES} particles of {TOKENS} tokens", "seconds", "ratio", "positions"),
                (
                    ("`generate` of transformers", f"{other:.2f}", "1", f"{theirs:,}"),
                    ("SMC with a factor at each token", f"{mine:.2f}", f"{mine / other:.2f}", f"{positions:,}"),
                ),
            ),
            table(
                (f"{PARTICLES} particles of {TOKENS} tokens", "seconds", "ratio"),
                (
                    ("tokens drawn among all", f"{free:.2f}", "1"),
                    ("among those that a regular expression allows", f"{masked:.2f}", f"{masked / free:.2f}"),
                ),
            ),
            table(
                (f"{MANY} particles of {TOKENS} tokens", "seconds", "ratio", "`generate`", "ratio", "its prompt"),
                (
                    (
                        f"after a prompt of {SHORT}",
                        f"{short:.2f}",
                        "1",
                        f"{their_short:.2f}",
                        "1",
                        f"{short_prompt:.2f}",
                    ),
                    (
                        f"after a prompt of {LONG:,}",
                        f"{long:.2f}",
                        f"{long / short:.2f}",
                        f"{their_long:.2f}",
                        f"{their_long / their_short:.2f}",
                        f"{long_prompt:.2f}",
                    ),
                ),
            ),
            f"A token's attention to {LONG:,} others takes {100 * attention_share(model.config):.0f} % as many "
            "multiplications as all the rest of this model does. Here the prompt's keys and values are read once for "
            "all particles, and the prompt itself was computed once; `generate` computes it, and keeps it, once for "
            "each text.",
        )
    )
    print(text)
    if not options.no_write:
        write_section("decoding", text)


if __name__ == "__main__":
    main()
