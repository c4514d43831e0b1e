"""Loading a model that a server has: which one, what can be asked of it, and by which tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from .kv_text import Tokens
from .server_client import Client, ServerError
from .server_kinds import lists_all
from .server_model import ServerModel, Words
from .server_probe import Probe, make_of, models_of


class TokenizerWords:
    """The tokens of a ``transformers`` tokenizer."""

    def __init__(self, tokenizer: Any, eos_tokens: frozenset[int]) -> None:
        """Wrap a tokenizer.

        Args:
            tokenizer: the tokenizer.
            eos_tokens: ids that end a text, besides its own.
        """
        self._tokens = Tokens(tokenizer)
        self.bos = self._tokens.bos
        self.vocab_size = len(tokenizer)
        self.opens_with_space = self._tokens.opens_with_space
        own = () if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)
        self.eos_tokens = eos_tokens.union(own)

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of ``text``, with no special tokens added."""
        return self._tokens.encode(text)

    def encode_after(self, text: str) -> tuple[int, ...]:
        """The token ids of ``text`` where other text stands before it."""
        return self._tokens.encode_after(text)

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """The token ids of a conversation up to where the model's turn begins, without the implicit BOS."""
        return self._tokens.encode_chat(messages, skip=self.bos)

    def decode_bytes(self, token: int) -> bytes:
        """The bytes that ``token`` stands for; empty for special tokens."""
        return self._tokens.decode_bytes(token)


def load_server(
    url: str,
    model: str | None = None,
    *,
    tokenizer: Any = None,
    api_key: str | None = None,
    kind: str | None = None,
    concurrency: int | None = None,
    **patience: Any,
) -> ServerModel:
    """Connect to a server and find out what it can do, with a few requests of one token.

    Args:
        url: where its API begins, such as ``http://localhost:8000/v1``.
        model: what it calls the model; may be left out if it serves one.
        tokenizer: the model's tokenizer: a folder, a name on the Hugging Face hub, a ``transformers`` tokenizer, or a
            model of this package with the same tokens. By default what the server says the model was loaded from.
        api_key: by default the environment variable ``PPL_API_KEY``; shown nowhere.
        kind: "vllm", "sglang", "llama.cpp", "transformers" or "openai"; by default found out.
        concurrency: the most requests under way at a time; by default 64, and 1 where seeds hold no further.
        **patience: ``timeout``, ``connect_timeout``, ``retries``, ``backoff`` and ``longest_wait`` of :class:`Client`.

    Raises:
        ServerError: the server can't be reached, or has no such model, or does not complete texts.
        ValueError: an argument has no meaning, or the tokenizer is not to be found.
        ImportError: the HTTP client is not installed.
    """
    try:
        import httpx2  # noqa: F401
    except ImportError as error:
        raise ImportError("servers need an HTTP client: pip install 'ppl-lm[server]'") from error
    key = api_key or os.environ.get("PPL_API_KEY") or None
    client = Client(url, key, concurrency=concurrency or 64, **patience)
    entries, unlisted = _listed(client, model, tokenizer)
    entry = _entry(client, entries, model)
    make = make_of(client, entry, kind)
    if concurrency is None and not make.side_by_side:
        client.limit(1)
    name = str(entry["id"])
    words = _words(tokenizer, entry, unlisted)
    found = ServerModel(client, name, words, getattr(words, "bos", None), entry.get("max_model_len"))
    found.abilities = Probe(client, found, name, make, found.bos).run()
    return found


def _listed(client: Client, model: str | None, tokenizer: Any) -> tuple[list[dict[str, Any]], ServerError | None]:
    """What the server says about its models, or its refusal to say anything.

    Raises:
        ServerError: it can't be reached, or refuses where nothing can be done without.
    """
    try:
        return models_of(client), None
    except ServerError as error:
        keyless = error.status in (401, 403)
        # With a name and a tokenizer nothing more is to be known; what it says to the first completion counts.
        if not error.refused or (keyless and (model is None or tokenizer is None)):
            raise
        if model is None:
            way = "" if error.status == 404 else "; give the address up to and with /v1, or load_lm(url, model=...)"
            raise ServerError(
                f"which model? The list of them can't be had: {error}{way}", True, error.status
            ) from error
        return [], error


def _entry(client: Client, entries: Sequence[Mapping[str, Any]], model: str | None) -> dict[str, Any]:
    """What the server says about the model that is meant."""
    names = [str(entry["id"]) for entry in entries]
    for entry in entries:
        if model == entry["id"] or (model is None and len(entries) == 1):
            return dict(entry)
    listed = f"it serves {', '.join(names)}" if names else "it does not list its models"
    if model is None:
        raise ServerError(f"{client.url}: which model? {listed}; give load_lm(url, model=...)")
    if any(lists_all(str(entry.get("owned_by"))) for entry in entries):
        raise ServerError(f"{client.url}: there is no model {model!r}; {listed}; give one of these as model=")
    # Other makes list other models than they serve, or none: the first request tells.
    return {"id": model}


def _words(tokenizer: Any, entry: Mapping[str, Any], unlisted: ServerError | None) -> Words:
    """The tokens of the model, by what was given or by what the server said about it."""
    if tokenizer is not None and not isinstance(tokenizer, str | os.PathLike):
        if hasattr(tokenizer, "decode_bytes"):
            words: Words = tokenizer
            return words
        return TokenizerWords(tokenizer, frozenset())
    from transformers import AutoTokenizer

    tried = [os.fspath(tokenizer)] if tokenizer is not None else [str(entry.get("root") or entry["id"]), entry["id"]]
    problem: Exception | None = None
    for place in dict.fromkeys(tried):
        try:
            return TokenizerWords(AutoTokenizer.from_pretrained(place), _ends(place))
        except (OSError, ValueError) as error:
            problem = problem or error
    first = str(problem).strip().partition("\n")[0]
    said = "" if unlisted is None else f". The server did not say what it loaded: {unlisted}"
    raise ValueError(
        f"no tokenizer is to be had as {tried[0]!r} ({first}); tokens must be known here too, so that texts keep "
        "theirs: give load_lm(url, tokenizer=...) the folder or hub name that the server loaded its model from" + said
    ) from problem


def _ends(place: str) -> frozenset[int]:
    """The ids that end a text by the model's generation settings, where there are some."""
    from transformers import GenerationConfig

    try:
        found = GenerationConfig.from_pretrained(place).eos_token_id
    except OSError:
        return frozenset()
    return frozenset(found if isinstance(found, list) else [] if found is None else [found])
