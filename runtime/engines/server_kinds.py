"""What makes of servers call things: a row a make. What a server can do is not here; it is found out by asking it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .requests import Law

Body = dict[str, Any]


@dataclass(frozen=True)
class Order:
    """Laws that a make of server draws from in another way.

    Attributes:
        differs: whether a law is one of them.
        because: what the server does.
    """

    differs: Callable[[Law], bool]
    because: str


@dataclass(frozen=True)
class Kind:
    """A make of server.

    Attributes:
        name: what people call it.
        always: fields of every request: they switch off what would change the law or the tokens.
        ids: whether prompts as token ids are worth a try.
        everything: the value of ``top_k`` that keeps all tokens; ``None``: the server knows no ``top_k``.
        scoring: how it may be asked about given tokens; names in ``server_scoring.WAYS``.
        seed_bits: how large a seed may be.
        side_by_side: whether a seed gives the same text whatever else is under way.
        cuts_stops: whether its answers lack a stop string and the tokens that wrote it. Such a server is not told of
            stop strings: what it leaves out was drawn, and can't be known.
        stops_across: whether a stop string ends its texts that begins in the prompt.
        ends_late: whether it says "length" also where the last token that was asked for ended the text.
        lists_end: whether an end token is among the tokens of an answer, if it is an ordinary one.
        order: why some laws are another thing to it than to this package, or ``None``: the condition and the reason.
        law: writes temperature, top-p and top-k into a request in a way of its own; given the end tokens too.
    """

    name: str
    always: Mapping[str, Any] = field(default_factory=dict)
    ids: bool = True
    everything: int | None = None
    scoring: tuple[str, ...] = ("echo",)
    seed_bits: int = 31
    side_by_side: bool = True
    cuts_stops: bool = False
    stops_across: bool = False
    ends_late: bool = False
    lists_end: bool = True
    order: Order | None = None
    law: Callable[[Law, Iterable[int]], Body] | None = None

    def sampling(self, law: Law, eos_tokens: Iterable[int]) -> Body:
        """The fields that ask for a law. All are sent, as servers take what is missing from the model's own settings.

        Args:
            law: (temperature, top_p, top_k).
            eos_tokens: the ids that end a text.
        """
        if self.law is not None:
            return self.law(law, eos_tokens)
        temperature, top_p, top_k = law
        body: Body = {"temperature": temperature, "top_p": top_p}
        if self.everything is not None:
            body["top_k"] = self.everything if top_k is None else top_k
        return body

    @property
    def cuts(self) -> bool:
        """Whether it knows ``top_k``."""
        return self.everything is not None or self.law is not None


def _generation_config(law: Law, eos_tokens: Iterable[int]) -> Body:
    """``transformers serve`` takes a whole generation config, as JSON in a string."""
    temperature, top_p, top_k = law
    ends = sorted(eos_tokens)
    config: Body = {"do_sample": temperature > 0.0, "eos_token_id": ends or None, "pad_token_id": min(ends, default=0)}
    if temperature > 0.0:
        config |= {"temperature": temperature, "top_p": top_p, "top_k": top_k or 0}
    return {"generation_config": json.dumps(config)}


VLLM = Kind(
    "vLLM",
    always={
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "add_special_tokens": False,
        "skip_special_tokens": False,
        "include_stop_str_in_output": True,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    },
    everything=-1,
    scoring=("prompt_logprobs", "echo"),
    seed_bits=63,
)
SGLANG = Kind(
    "SGLang",
    always={
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "skip_special_tokens": False,
        "no_stop_trim": True,
        "return_token_ids": True,
    },
    everything=-1,
    order=Order(
        lambda law: law[1] < 1.0 and law[2] is not None,
        "it measures top_p before top_k has cut, not after: give one of the two",
    ),
)
LLAMA_CPP = Kind(
    "llama.cpp",
    # Its own order has the temperature last, and samplers of its own between.
    always={"samplers": ["temperature", "top_k", "top_p"], "post_sampling_probs": True},
    everything=0,
    scoring=("grammar",),
    cuts_stops=True,
)
LLAMA_CPP_PYTHON = Kind(
    "llama-cpp-python",
    always={"min_p": 0.0, "repeat_penalty": 1.0},
    ids=False,
    everything=0,
    # Its echo gives each token the log-probability of the place after it.
    scoring=("grammar",),
    cuts_stops=True,
    lists_end=False,
    order=Order(
        lambda law: law[1] < 1.0 and law[0] not in (0.0, 1.0),
        "it applies the temperature after top_p, not before: give one of the two",
    ),
)
TRANSFORMERS = Kind(
    "transformers serve",
    scoring=(),
    side_by_side=False,
    stops_across=True,
    ends_late=True,
    law=_generation_config,
)
OTHER = Kind("OpenAI-compatible server", cuts_stops=True)

_OWNERS = {"vllm": VLLM, "sglang": SGLANG, "llamacpp": LLAMA_CPP}
_PATHS = {"/load_model": TRANSFORMERS, "/extras/tokenize": LLAMA_CPP_PYTHON}
KINDS = {
    "vllm": VLLM,
    "sglang": SGLANG,
    "llama.cpp": LLAMA_CPP,
    "llama-cpp-python": LLAMA_CPP_PYTHON,
    "transformers": TRANSFORMERS,
    "openai": OTHER,
}
"""The makes, by the names that ``load_lm(url, kind=...)`` takes."""


def kind_of(owner: str, paths: Iterable[str]) -> Kind:
    """The make of a server, by what it lists.

    Args:
        owner: the ``owned_by`` of its models.
        paths: the addresses that it answers to, where it says so.
    """
    known = set(paths)
    return _OWNERS.get(owner) or next((kind for path, kind in _PATHS.items() if path in known), OTHER)


def lists_all(owner: str) -> bool:
    """Whether a server whose models say ``owned_by`` this lists all that it serves."""
    return owner in _OWNERS
