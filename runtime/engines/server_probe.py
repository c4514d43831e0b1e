"""Finding out what a server can do, by asking it: a few requests of one token each, once when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from .model import LanguageModel
from .requests import PLAIN, Law
from .server_answers import Piece, Reader
from .server_client import Client, ServerError
from .server_kinds import KINDS, Body, Kind, kind_of
from .server_laws import Reported
from .server_scoring import WAYS

_BEST = (20, 10, 5, 1)
"""How many of the most probable tokens to ask for; what the server takes counts."""

_WORDS = 32
"""About how many tokens to make the text of by which tokenizers are compared, at most."""

_CLOSE = 1e-3
"""Log-probabilities this close are the same: servers compute in half precision too, and in other batches."""

_CLEAR = 0.05
"""Log-probabilities this far apart are different."""

_SAME = 0.05
"""A token's log-probability as drawn and as scored, in half precision too."""

_HALF: Law = (0.5, 1.0, None)
_FIRST: Law = (1.0, 1.0, 1)
_FIRST_BY_MASS: Law = (1.0, 1e-6, None)


@dataclass(frozen=True)
class Abilities:
    """What a server can do.

    Attributes:
        kind: its make.
        ids: whether it takes prompts as token ids; else as text, which it tokenises itself.
        reported: which law its log-probabilities belong to; ``None``: it gives none.
        scoring: how it scores given tokens, by its name in ``server_scoring.WAYS``; ``None``: it can't.
    """

    kind: Kind
    ids: bool
    reported: Reported | None
    scoring: str | None

    def describe(self) -> str:
        """For people: what works, and what does not."""
        prompts = "token ids" if self.ids else "text, which the server tokenises anew"
        reported = self.reported
        if reported is None:
            weights = "no log-probabilities"
        else:
            steps = {"temperature": reported.tempered, "top-k/top-p": reported.truncated}
            told = " and ".join(name for name, shows in steps.items() if shows)
            weights = f"log-probabilities after {told}" if told else "log-probabilities of the model itself"
            if not (reported.tempered and reported.truncated):
                weights += f" and its {reported.best} best tokens"
        scores = f"scores texts ({self.scoring})" if self.scoring else "can't score texts"
        seeds = "" if self.kind.side_by_side else "; seeds hold one request at a time"
        return f"{self.kind.name}; prompts as {prompts}; {weights}; {scores}{seeds}; no masks, no enumeration"


def models_of(client: Client) -> list[dict[str, Any]]:
    """What the server says about the models that it serves.

    Raises:
        ServerError: it can't be reached, or refuses to say.
    """

    def read(answer: Any) -> list[dict[str, Any]]:
        return [dict(entry) for entry in answer["data"] if entry["id"]]

    return client.ask("models", None, read, patient=False)


def make_of(client: Client, entry: dict[str, Any], kind: str | None) -> Kind:
    """The make of the server: what the user says, else what it looks like.

    Raises:
        ValueError: there is no make of that name.
    """
    if kind is not None:
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r}: give one of {', '.join(map(repr, KINDS))}, or leave it out")
        return KINDS[kind]
    owner = str(entry.get("owned_by"))
    try:
        paths: list[str] = client.ask("/openapi.json", None, lambda a: list(a["paths"]), patient=False)
    except ServerError:
        paths = []
    return kind_of(owner, paths)


class Probe:
    """Asks one server about one model."""

    def __init__(self, client: Client, model: LanguageModel, name: str, kind: Kind, bos: int | None) -> None:
        """Prepare.

        Args:
            client: the server.
            model: the model's tokens.
            name: what the server calls the model.
            kind: the make of the server.
            bos: the id that comes before every prompt, if there is one.
        """
        self._client = client
        self._reader = Reader(model, kind.lists_end)
        self._name = name
        self._kind = kind
        self._eos = model.eos_tokens
        ordinary = (t for t in range(model.vocab_size) if _is_ordinary(model.decode_bytes(t)))
        some = (list(islice(ordinary, 2)) * 2)[:2]
        self._text = b"".join(map(model.decode_bytes, some)).decode()
        self._tokens = [*([] if bos is None else [bos]), *some]
        self._model = model
        self._spelled = list(model.encode(self._text))

    def run(self) -> Abilities:
        """Ask.

        Raises:
            ServerError: the server can't complete texts.
            ValueError: its tokens are not the model's.
        """
        ids = self._takes_ids()
        self._compare_tokens()
        best, plain = self._plain(ids)
        if plain is None:
            return Abilities(self._kind, ids, None, None)
        assert plain.tokens is not None
        places = {**(plain.best[0] if plain.best else {}), plain.tokens[0]: plain.log_probs[0]}
        reported = Reported(self._is_tempered(ids, best, places), self._is_truncated(ids, best, places), best)
        return Abilities(self._kind, ids, reported, self._scoring(ids, places))

    def _body(self, ids: bool, law: Law, **more: Any) -> Body:
        return {
            "model": self._name,
            "prompt": self._tokens if ids else self._text,
            "max_tokens": 1,
            "seed": 1,
            **self._kind.always,
            **self._kind.sampling(law, self._eos),
            **more,
        }

    def _piece(self, body: Body, patient: bool = False) -> Piece:
        return self._client.ask("completions", body, self._reader.piece, patient=patient)

    def _takes_ids(self) -> bool:
        """Whether it takes token ids; asks with patience, so that a server that is still starting is waited for."""
        try:
            if self._kind.ids:
                self._piece(self._body(True, PLAIN), patient=True)
                return True
        except ServerError as error:
            if not error.refused:
                raise
        self._piece(self._body(False, PLAIN), patient=True)
        return False

    def _compare_tokens(self) -> None:
        """Compare how many tokens a text has here and there: with the tokens of another model every id means another.

        The text is made of tokens from all of the vocabulary, which another one would have to write in pieces. Small
        differences are let pass: a server may add tokens at the ends, or read odd spellings in a way of its own.

        Raises:
            ValueError: the numbers are far apart.
        """
        size = self._model.vocab_size
        some = map(self._model.decode_bytes, range(0, size, max(1, size // _WORDS)))
        text = b"".join([token for token in some if _is_ordinary(token)]).decode()
        here = len(self._model.encode(text))
        body = self._body(False, PLAIN) | {"prompt": text}
        try:
            there = self._client.ask("completions", body, _tokens_read, patient=False)
        except ServerError:
            return  # it does not tell
        if there > 0 and abs(there - here) > 2 + here // 4:
            raise ValueError(
                f"{self._client.url} reads {there} tokens in a text that is {here} by the tokenizer used here, so its "
                f"model {self._name!r} has others: give load_lm(url, tokenizer=...) the folder or hub name that the "
                "server loaded its model from"
            )

    def _plain(self, ids: bool) -> tuple[int, Piece | None]:
        """How many of the best tokens it reports, with an answer; ``None``: no log-probabilities of known tokens."""
        for best in _BEST:
            try:
                piece = self._piece(self._body(ids, PLAIN, logprobs=best))
            except ServerError as error:
                if error.refused:
                    continue
                raise
            known = piece.tokens is not None and len(piece.log_probs) == len(piece.tokens) > 0
            return (min(best, max(map(len, piece.best), default=1)), piece if known else None)
        return 0, None

    def _is_tempered(self, ids: bool, best: int, plain: Mapping[int, float]) -> bool:
        """Whether a temperature shows in the reports: at 1/2, differences of log-probabilities are twice as large.

        Where that can't be told, it is taken not to: then nothing is computed from what may be missing.
        """
        half = self._piece(self._body(ids, _HALF, logprobs=best)).best
        common = sorted(plain.keys() & half[0].keys(), key=lambda token: (-plain[token], token)) if half else []
        if len(common) < 2:
            return False
        first, last = common[0], common[-1]
        before = plain[first] - plain[last]
        after = half[0][first] - half[0][last]
        return before > _CLEAR and abs(after - 2 * before) < abs(after - before)

    def _is_truncated(self, ids: bool, best: int, plain: Mapping[int, float]) -> bool:
        """Whether truncation shows in the reports: of one token that is kept, the probability is 1, and was not."""
        if not plain or max(plain.values()) > -_CLEAR:
            return False
        law = _FIRST if self._kind.cuts else _FIRST_BY_MASS
        piece = self._piece(self._body(ids, law, logprobs=best))
        return len(piece.log_probs) == 1 and abs(piece.log_probs[0]) < _CLOSE

    def _scoring(self, ids: bool, places: Mapping[int, float]) -> str | None:
        """A way to score that gives a token the same log-probability as it has when it is drawn."""
        before = self._tokens if ids else self._spelled
        ordinary = (token for token in places if token >= 0 and token not in self._eos)
        token = next((token for token in ordinary if ids or self._text_with(token) is not None), None)
        if token is None:
            return None
        tokens = [*before, token]
        for name in self._kind.scoring:
            way = WAYS[name]
            sent = way.prompt(len(tokens), len(before))
            prompt = tokens[:sent] if ids else self._text if sent < len(tokens) else self._text_with(token)
            body = self._body(ids, PLAIN) | {"prompt": prompt} | way.fields(tokens[sent:], 0, self._eos)
            read = partial(way.read, self._reader, tokens=tokens, sent=sent)
            try:
                last = self._client.ask("completions", body, read, patient=False)[-1]
            except ServerError:
                continue
            if last is not None and abs(last[token] - places[token]) < _SAME:
                return name
        return None

    def _text_with(self, token: int) -> str | None:
        """The text of the prompt and one more token, if it is read as these tokens."""
        text = self._text + self._model.decode_bytes(token).decode("utf-8", errors="replace")
        return text if self._model.encode(text) == (*self._spelled, token) else None


def _is_ordinary(token: bytes) -> bool:
    """Whether every tokenizer and server takes it for what it is: something to read, in plain letters."""
    return token.isascii() and bool(token.strip()) and token.decode().isprintable()


def _tokens_read(answer: Any) -> int:
    """How many tokens the server found in a prompt; 0 or less: it does not say."""
    return int((answer.get("usage") or {}).get("prompt_tokens") or 0)
