"""Language models as a program sees them, and where to get one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

from .context import Context
from .runtime.engines.base import Completion, Engine, Request
from .runtime.engines.model import CacheInfo, LanguageModel, LogitModel
from .runtime.engines.requests import Generated
from .runtime.source import RandomSource, Source
from .text import Text, tokens_of

if TYPE_CHECKING:
    from .runtime.engines.table import Weight

_BUNDLED = Path(__file__).resolve().parent / "bundled" / "model"
_MESSAGE = '{"role": "user", "content": "…"}'
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


class LM:
    """A language model: gives contexts, from which come distributions over text.

    Attributes:
        model: its tokens, and what computes its next-token logits or where.
        engine: where requests about it are computed.
        name: what people call it.
    """

    __ppl_immutable__ = True  # all particles share it, also when it is an argument of the program
    __ppl_pure__ = frozenset({"context", "encode", "decode"})  # methods that change nothing, for the compiler

    origin: tuple[Callable[..., LM], tuple[Any, ...]] | None = None
    """How to have the same again, in another process."""

    def __init__(self, model: LanguageModel, engine: Engine, name: str) -> None:
        """Use :func:`load_lm` or :func:`table_lm` instead.

        Args:
            model: the model.
            engine: computes requests about it.
            name: what people call it.
        """
        self.model = model
        self.engine = engine
        self.engine.name = name
        self.name = name
        self._words: dict[Generated, Text] = {}

    def context(self, text_or_messages: str | Sequence[Mapping[str, str]] = "") -> Context:
        """What the model is to have read.

        Args:
            text_or_messages: text, or a conversation, as mappings with the keys ``role`` and ``content``, which the
                model's chat template writes out up to where its own turn begins.

        Raises:
            TypeError: it is neither.
            ValueError: it is a conversation and the model has no chat template, or it cannot be encoded.
        """
        if isinstance(text_or_messages, str):
            return Context(self, self.model.root.extend(tokens_of(text_or_messages, self, after=False)))
        if isinstance(text_or_messages, Context | Mapping | bytes) or not isinstance(text_or_messages, Sequence):
            kind = type(text_or_messages).__name__
            raise TypeError(f"lm.context takes text, or a list of messages such as {_MESSAGE}, not a {kind}")
        messages = cast(Sequence[Mapping[str, str]], text_or_messages)
        for message in messages:
            if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
                raise TypeError(f"{message!r} is not a message; write one as {_MESSAGE}")
            if not isinstance(message["content"], str):
                kind = type(message["content"]).__name__
                raise TypeError(f"the content of a message is a {kind}: give text, as in {_MESSAGE}")
            _check_characters(message["content"])
        if not messages:
            raise ValueError(f"the list of messages is empty; give at least one, such as {_MESSAGE}")
        return Context(self, self.model.root.extend(self.model.encode_chat(messages)))

    def encode(self, text: str, after: bool = False) -> tuple[int, ...]:
        """The token ids of ``text``, with no special tokens added; those that are spelled out in it become such.

        Args:
            text: the text.
            after: whether other text stands before it. Some tokenizers put a space before a text that begins.

        Raises:
            ValueError: it cannot be encoded.
        """
        _check_characters(text)
        return self.model.encode_after(str(text)) if after else self.model.encode(str(text))

    def decode(self, tokens: Iterable[int]) -> str:
        """How tokens read. Special tokens read as nothing, incomplete characters as U+FFFD."""
        return b"".join(map(self.model.decode_bytes, tokens)).decode("utf-8", errors="replace")

    def written(self, generated: Generated) -> Text:
        """A text that this model wrote. Texts of one token come by the thousand, and are one object each."""
        text = self._words.get(generated)
        if text is None:
            text = Text(self.decode(generated.tokens), generated.tokens, generated.finish, self)
            if len(generated.tokens) == 1:
                self._words[generated] = text
        return text

    def describe(self) -> str:
        """One line: what the model is and where it runs."""
        return self.model.describe()

    def compute(self, request: Request, source: Source | None = None) -> Completion:
        """Answer one request now, in a session of its own, so that no run in progress is disturbed.

        Args:
            request: what a distribution's ``draw``, ``score`` or ``support`` gave.
            source: where its draws come from; by default random.
        """
        engine = self.engine.session()
        engine.submit(request, RandomSource() if source is None else source)
        while True:
            for completion in engine.step():
                return completion

    def __reduce__(self) -> tuple[Callable[..., LM], tuple[Any, ...]]:
        if self.origin is None:
            raise TypeError(f"{self!r} can't be sent to another process; one that load_lm or table_lm gave can")
        return self.origin

    def __repr__(self) -> str:
        return f"LM({self.name!r}: {self.describe()})"


def _check_characters(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{text[error.start : error.end]!r} in a text is half a character, which no model reads: write "
            "text.encode(errors='replace').decode() to put question marks there"
        ) from None


def load_lm(
    source: str | os.PathLike[str] | LogitModel | tuple[Any, Any] | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    max_batch: int | None = None,
    **options: Any,
) -> LM:
    """A language model. Asked again with equal arguments, the same one.

    Args:
        source: ``None`` for what the environment variable ``PPL_MODEL`` names, else the small model that ships with
            the package; the path of a folder with a model in Hugging Face format; the name of a model on the Hugging
            Face hub; the address of an OpenAI-compatible server, such as ``http://localhost:8000/v1``; a pair
            (transformers model, tokenizer); or any :class:`LogitModel`.
        device: where to load it, such as "cpu" or "cuda:1"; "auto" chooses. Only for a path or a name.
        dtype: the type of its weights, such as "float32"; "auto" chooses. Only for a path or a name.
        max_batch: the most contexts in one call of the model; ``None`` for no bound. No result depends on it.
        **options: handed to the loader of transformers models; for a server: ``model=`` (what it calls the model),
            ``tokenizer=``, ``api_key=`` (or the environment variable ``PPL_API_KEY``), ``kind=``, ``concurrency=``,
            ``timeout=``, ``retries=`` (see ``ppl.runtime.engines.server_loading.load_server``).

    Raises:
        FileNotFoundError: there is no model at the path.
        RuntimeError: the server can't be reached, or does not have the model.
        TypeError, ValueError: ``source`` is nothing of the above.
    """
    if source is None:
        source = os.environ.get("PPL_MODEL") or None
    given, place = True, cast(Any, source)
    if source is None or isinstance(source, str | os.PathLike):
        given, place = False, _place(source)
    settings = (device, dtype, max_batch, *sorted(options.items()))
    cache: Any = _given if given else _loaded
    # A given object is known by its identity: while its LM is cached, that keeps it, and so its id, in use.
    identity = tuple(map(id, source)) if isinstance(source, tuple) else id(source)
    key = (identity if given else place, *settings)
    try:
        hash(key)
    except TypeError:
        return _load(place, device, dtype, max_batch, options)
    with _lock:
        found: LM | None = cache.get(key)
        if found is None:
            found = cache[key] = _load(place, device, dtype, max_batch, options)
            bundled = isinstance(place, str) and place == str(_BUNDLED)  # which lies elsewhere in another process
            # A key is never sent along: another process takes it from its own environment.
            public = {name: value for name, value in options.items() if name != "api_key"}
            found.origin = _again, (None if bundled else place, device, dtype, max_batch, public)
        return found


def _again(place: Any, device: str, dtype: str, max_batch: int | None, options: Mapping[str, Any]) -> LM:
    """:func:`load_lm` of what another process has loaded."""
    place = str(_BUNDLED) if place is None else place
    return load_lm(place, device=device, dtype=dtype, max_batch=max_batch, **options)


def unload_lms() -> None:
    """Forget what :func:`load_lm` keeps, so that memory is freed once nothing else refers to it."""
    with _lock:
        _loaded.clear()
        _given.clear()


def cache_info() -> dict[str, CacheInfo]:
    """What the models that :func:`load_lm` keeps have cached, by their names; those that cache nothing are left out."""
    with _lock:
        known = [*_loaded.values(), *_given.values()]
    found: dict[str, CacheInfo] = {}
    for lm in known:
        info = lm.model.cache_info()
        if info is not None:
            same = sum(name.partition("#")[0] == lm.name for name in found)
            found[f"{lm.name}#{same + 1}" if same else lm.name] = info
    return found


_lock = Lock()
_loaded: dict[Any, LM] = {}
_given: WeakValueDictionary[Any, LM] = WeakValueDictionary()


def table_lm(
    vocabulary: Sequence[str],
    rows: Mapping[tuple[str, ...], Mapping[str, Weight]] | None = None,
    *,
    eos: str | None = None,
    seed: int | None = None,
    order: int | None = None,
) -> LM:
    """A model given by exact probabilities, for programs whose meaning is to be computed by hand.

    Args:
        vocabulary: the token strings.
        rows: the probabilities of the next token after contexts that end in the key, a tuple of token strings; the
            longest key that matches counts, and ``()`` always matches.
        eos: the token that ends a text.
        seed: instead of ``rows``: probabilities that look arbitrary, different after each context.
        order: with ``seed``: how many of the last tokens they depend on; ``None`` for all.

    Raises:
        ValueError: not exactly one of ``rows`` and ``seed`` is given, or a row is not a distribution.
    """
    from .runtime.engines.table import TableModel

    if (rows is None) == (seed is None):
        raise ValueError("give either rows (probabilities) or seed (arbitrary ones)")
    if rows is not None:
        if order is not None:
            raise ValueError("order goes with seed; with rows, the keys say how far back a row looks")
        found = _over(TableModel(vocabulary, rows, eos), "table", None)
    else:
        assert seed is not None
        found = _over(TableModel.random(seed, vocabulary, eos, order), f"table {seed}", None)
    found.origin = _table_again, (vocabulary, rows, eos, seed, order)
    return found


def _table_again(vocabulary: Any, rows: Any, eos: str | None, seed: int | None, order: int | None) -> LM:
    return table_lm(vocabulary, rows, eos=eos, seed=seed, order=order)


def _over(model: LogitModel, name: str, max_batch: int | None) -> LM:
    from .runtime.engines.local import LocalEngine

    return LM(model, LocalEngine(model, max_batch=max_batch), name)


def _load(place: Any, device: str, dtype: str, max_batch: int | None, options: Mapping[str, Any]) -> LM:
    if isinstance(place, LogitModel):
        if options:
            raise TypeError(f"a model given as an object takes no {', '.join(options)}")
        return _over(place, type(place).__name__, max_batch)
    if isinstance(place, tuple) and len(place) == 2:
        from .runtime.engines.transformers import TransformersModel

        return _over(TransformersModel(*place, **options), type(place[0]).__name__, max_batch)
    if not isinstance(place, str):
        raise TypeError(
            f"load_lm takes a path, a hub name, a pair (transformers model, tokenizer) or a LogitModel, "
            f"not a {type(place).__name__}"
        )
    if _is_url(place):
        if (device, dtype, max_batch) != ("auto", "auto", None):
            raise ValueError(
                "a server chooses device, dtype and batches itself; concurrency= says how much to ask at a time"
            )
        return _at_server(place, options)
    from .runtime.engines.loading import load_transformers

    name = "bundled" if place == str(_BUNDLED) else place
    try:
        model = load_transformers(place, device=device, dtype=dtype, **options)
    except OSError as error:
        if Path(place).is_dir():
            raise
        problem = str(error).strip().partition("\n")[0]
        raise FileNotFoundError(
            f"{place!r} is no folder here, and no model to be had from the hub: {problem}"
        ) from error
    return _over(model, name, max_batch)


def _at_server(url: str, options: Mapping[str, Any]) -> LM:
    from .runtime.engines.server import ServerEngine
    from .runtime.engines.server_loading import load_server

    model = load_server(url, **options)
    return LM(model, ServerEngine(model), model.name)


def _is_url(place: str) -> bool:
    return re.match(r"https?://", place) is not None


def _place(source: str | os.PathLike[str] | None) -> str:
    """The folder or hub name that is meant, checked as far as can be without loading anything."""
    if source is None:
        if not (_BUNDLED / "config.json").is_file():
            raise FileNotFoundError(
                f"this installation lacks the bundled model at {_BUNDLED}; pass a path or a hub name to load_lm"
            )
        return str(_BUNDLED)
    name = os.fspath(source)
    if _is_url(name):
        return name
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise FileNotFoundError(
                f"{name} has no config.json; pass the folder that save_pretrained wrote, with a model in it"
            )
        return str(path.resolve())
    if path.exists():
        raise FileNotFoundError(f"{name} is a file; pass the folder of a model in Hugging Face format")
    if isinstance(source, str) and _HUB_NAME.fullmatch(name) and not name.startswith("."):
        return name
    raise FileNotFoundError(f"{name!r} does not exist; pass the folder of a model, or a hub name such as 'org/model'")
