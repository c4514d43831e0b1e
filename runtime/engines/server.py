"""The engine over a server that speaks the OpenAI protocol (``/v1/completions``): vLLM, SGLang, llama.cpp and others.

The server draws; this engine asks for texts with seeds made of the particles' keys, and for log-probabilities of given
tokens. What a server cannot answer exactly is refused with the reason, never approximated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from ..source import RandomSource, Source
from .base import Completion, Engine, Request, RequestError
from .jobs import Choosing, Job, Reading, Scoring
from .model import Usage
from .requests import PLAIN, Choose, Ending, Generate, Law, Score, Support, TextSpec
from .server_answers import Piece, Reader
from .server_jobs import Drawing, Question, questions
from .server_kinds import Body
from .server_laws import Reported, told
from .server_model import ServerModel
from .server_scoring import WAYS, Places

_ENDINGS = 1024
"""How many texts' endings to remember before starting over."""

_LOCAL = "load the model in this process instead (load_lm with a path or a hub name)"


class ServerEngine(Engine):
    """Answers :class:`Generate`, :class:`Score` and :class:`Choose` by asking a server, many at a time."""

    elsewhere = True

    def __init__(self, model: ServerModel) -> None:
        """Make an engine that owes nothing to others.

        Args:
            model: the model and its server.
        """
        self.model = model
        self._reader = Reader(model, model.abilities.kind.lists_end)
        self._jobs: list[Job] = []
        self._new: list[Job] = []
        self._errors: deque[RequestError] = deque()
        self._endings: dict[TextSpec, Ending] = {}
        self._flying: set[Future[Any]] = set()
        self._answers: SimpleQueue[tuple[Callable[[Any], None], Sequence[Job], Future[Any]]] = SimpleQueue()
        self._ring: Callable[[], object] = lambda: None

    def on_answer(self, ring: Callable[[], object]) -> None:
        self._ring = ring

    def submit(self, request: Request, source: Source) -> None:
        """Take a request; it is sent at the next :meth:`step`. One that the server cannot answer is refused there.

        Raises:
            TypeError: it is of a kind that this engine does not know.
        """
        problem = self._problem(request, source)
        if problem:
            self._errors.append(RequestError(f"{self.model.name} at {self.model.client.url}: {problem}", request))
            return
        job = self._job(request, source)
        self._jobs.append(job)
        self._new.append(job)

    def step(self) -> list[Completion]:
        """Send what is new, and wait until something is answered.

        Returns:
            What finished, in the order of submission.

        Raises:
            RequestError: a request has no answer. It alone is dropped; the others go on, and what finished
                with it is returned by the next call.
        """
        if self._errors:
            raise self._errors.popleft()
        self.start()
        if not self._answers.empty() or not self._finished():
            self._wait()
        return self._collect()

    def start(self) -> None:
        """Send what is new."""
        new, self._new = self._new, []
        self._ask(new)

    @property
    def waiting(self) -> bool:
        return self._answers.empty() and not self._errors and not self._finished()

    def _finished(self) -> bool:
        return any(job.completion or job.error for job in self._jobs)

    @property
    def pending(self) -> int:
        """How many requests are not answered yet."""
        return len(self._jobs) + len(self._errors)

    @property
    def usage(self) -> Usage:
        """``positions`` is what the server says it read and wrote; ``forwards`` counts answers."""
        return self.model.usage

    def session(self) -> ServerEngine:
        """Another engine over the same server, with requests of its own."""
        return ServerEngine(self.model)

    def cancel(self) -> None:
        """Drop everything pending; the connections of what is under way are closed, so that the server stops too."""
        self._jobs.clear()
        self._new.clear()
        self._errors.clear()
        self._answers = SimpleQueue()  # what still comes goes to the old one
        for future in list(self._flying):
            future.cancel()
        self._flying.clear()

    def _problem(self, request: Request, source: Source) -> str:
        """Why the server cannot answer; empty if it can."""
        match request:
            case Generate():
                if not isinstance(source, RandomSource):
                    return f"a server draws its texts itself, so that their outcomes can't be explored; {_LOCAL}"
                return self._untold(request.spec, self.model.abilities.reported, scored=False)
            case Score():
                known = Reported(False, False, self._best)
                return self._unscored() or self._untold(request.spec, known, scored=True)
            case Choose():
                return self._unscored()
            case Support():
                return f"a server does not give whole distributions, so that outcomes can't be listed; {_LOCAL}"
        raise TypeError(f"{type(self).__name__} cannot compute a {type(request).__name__}")

    def _untold(self, spec: TextSpec, reported: Reported | None, scored: bool) -> str:
        if spec.constraint is not None:
            return f"a server can't mask tokens exactly; draw without the constraint and condition on it, or {_LOCAL}"
        law = spec.law
        kind = self.model.abilities.kind
        if law[2] is not None and not kind.cuts and not scored:
            return "this make of server knows no top_k; leave it out, or use top_p"
        if kind.order is not None and not scored and kind.order.differs(law):
            return f"under {told(law)} {kind.name} draws from another law: {kind.order.because}, or {_LOCAL}"
        if reported is None or reported.needed(law) is not None:
            return ""
        best = f"give top_k, at most {reported.best}; " if reported.best > 1 else ""
        serve = (
            "" if scored else "start the server so that it reports them (vLLM: --logprobs-mode processed_logprobs); "
        )
        return (
            f"it reports log-probabilities of the model itself, and those under {told(law)} can't be known from them: "
            f"{best}{serve}draw with temperature=1 and no top_p, or {_LOCAL}"
        )

    def _unscored(self) -> str:
        if self.model.abilities.scoring is not None:
            return ""
        return (
            "it can't tell the log-probability of a given text, as observe, choice and the correction of a proposal "
            f"need: use a server that does (vLLM, with prompt_logprobs), or {_LOCAL}"
        )

    @property
    def _best(self) -> int:
        reported = self.model.abilities.reported
        return 0 if reported is None else reported.best

    def _job(self, request: Request, source: Source) -> Job:
        match request:
            case Generate():
                return Drawing(request, self._ending(request.spec), self.model, self.model.abilities)
            case Score():
                return Scoring(request, self.model.vocab_size, self._ending(request.spec))
            case Choose():
                return Choosing(request, source)
        raise AssertionError(request)

    def _ending(self, spec: TextSpec) -> Ending:
        if spec not in self._endings:
            if len(self._endings) >= _ENDINGS:
                self._endings.clear()
            self._endings[spec] = Ending(spec, self.model)
        return self._endings[spec]

    def _ask(self, jobs: Sequence[Job]) -> None:
        """Send requests, those that begin alike one after another: the server has their beginning at hand then."""
        todo: list[Drawing | Question] = [job for job in jobs if isinstance(job, Drawing)]
        todo += questions([job for job in jobs if isinstance(job, Reading) and not job.completion and not job.error])
        for item in sorted(todo, key=lambda item: item.path):
            try:
                if isinstance(item, Drawing):
                    self._send_drawing(item)
                else:
                    self._send_question(item)
            except ValueError as error:
                for job in [item] if isinstance(item, Drawing) else item.jobs:
                    job.error = RequestError(str(error), job.request)

    def _send_drawing(self, job: Drawing) -> None:
        abilities = self.model.abilities
        law = job.request.spec.law
        path = job.path
        body = self._body(self.model.prompt(path), law) | {"seed": job.seed}
        body["max_tokens"] = wanted = job.wanted
        if job.request.spec.max_tokens is None and self.model.max_length is not None:
            room = self.model.max_length - len(path) - (self.model.bos is not None)
            body["max_tokens"] = max(1, min(wanted, room))
        if job.stops:
            body["stop"] = job.stops
        read = self._reader.piece
        if abilities.reported is not None:
            body["logprobs"] = abilities.reported.needed(law) or 1
            read = self._reader.reported

        def take(piece: Piece) -> None:
            self._count(piece.read)
            job.take(piece, body["max_tokens"])
            if job.completion is None and job.error is None:
                self._ask([job])

        self._send(body, read, take, [job])

    def _send_question(self, question: Question) -> None:
        model = self.model
        assert model.abilities.scoring is not None
        way = WAYS[model.abilities.scoring]
        # A server that takes text puts the BOS before it itself, and does not count it among the prompt's tokens.
        tokens = [*([] if model.bos is None or not model.abilities.ids else [model.bos]), *question.path]
        offset = len(tokens) - question.leaf.length
        first = min(count for count, _ in question.looks)
        if offset + first == 0:
            raise ValueError("the first token of all has no log-probability at a server; give the context some text")
        sent = way.prompt(len(tokens), offset + first)
        body = self._body(tokens[:sent] if model.abilities.ids else self._spelled(tokens[:sent]), PLAIN)
        body |= way.fields(tokens[sent:], question.best(), model.eos_tokens)

        def read(answer: Any) -> Places:
            return way.read(self._reader, answer, tokens, sent)

        def take(places: Places) -> None:
            self._count(len(places))
            question.take(places, offset)

        self._send(body, read, take, question.jobs)

    def _spelled(self, tokens: Sequence[int]) -> str:
        """Tokens as text, if that is read as the same tokens again."""
        text = self.model.text_of(tokens)
        if self.model.encode(text) != tuple(tokens):
            raise ValueError(
                f"the server takes prompts as text, and would read {text[-40:]!r} as other tokens than these: use a "
                "server that takes token ids, or score texts as the tokenizer writes them"
            )
        return text

    def _body(self, prompt: list[int] | str, law: Law) -> Body:
        model = self.model
        kind = model.abilities.kind
        return {"model": model.name, "prompt": prompt, **kind.always, **kind.sampling(law, model.eos_tokens)}

    def _send(self, body: Body, read: Callable[[Any], Any], take: Callable[[Any], None], jobs: Sequence[Job]) -> None:
        answers, ring = self._answers, self._ring

        def answered(done: Future[Any]) -> None:
            answers.put((take, jobs, done))
            ring()

        future = self.model.client.send("completions", body, read)
        self._flying.add(future)
        future.add_done_callback(answered)

    def _wait(self) -> None:
        """Take what was answered: at least one answer, and whatever else is there already."""
        answers = self._answers
        while True:
            take, jobs, future = answers.get()
            self._flying.discard(future)
            if future.cancelled():
                return
            error = future.exception()
            if error is None:
                take(future.result())
            else:
                for job in jobs:
                    job.error = RequestError(str(error) or type(error).__name__, job.request)
            if answers.empty():
                return

    def _count(self, positions: int) -> None:
        self.model.usage.positions += positions
        self.model.usage.forwards += 1

    def _collect(self) -> list[Completion]:
        done = [job for job in self._jobs if job.completion is not None or job.error is not None]
        # Those that share a step with an error stay among the jobs, finished, for the next step to return.
        errors = [job.error for job in done if job.error is not None]
        if errors:
            self._jobs = [job for job in self._jobs if job.error is None]
            self._errors.extend(errors)
            raise self._errors.popleft()
        self._jobs = [job for job in self._jobs if job.completion is None]
        return [job.completion for job in done if job.completion is not None]
