"""What the bundled model reads: its training documents, its vocabulary, and rows filled with documents."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

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
