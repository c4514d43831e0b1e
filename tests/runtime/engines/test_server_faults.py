"""Networks and servers that misbehave: nothing hangs, nothing is lost or counted twice, errors say what to do."""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

import pytest

from ppl import ProgramError, condition, infer, infer_many, load_lm, program, sample
from ppl.lm import LM
from ppl.posterior import Posterior
from ppl.runtime.engines import server_client
from ppl.runtime.engines.base import RequestError
from ppl.runtime.engines.local import LocalEngine
from ppl.runtime.engines.requests import Generate, TextSpec
from ppl.runtime.engines.server_client import Client, ServerError
from ppl.runtime.engines.server_model import ServerModel
from ppl.runtime.engines.table import TableModel
from ppl.runtime.source import RandomSource, derive
from tests.servers.faulty_proxy import FAULTS, FaultyProxy, proxying
from tests.servers.table_server import TableServer, serving

TABLE = TableModel.random(0, ["a", "b", "ab", "\n"], eos="<end>")


@program
def writes(lm: LM) -> str:
    context, text = lm.context("a"), ""
    for _ in range(3):
        token = sample(context.token())
        context = context + token
        text += token
        condition("ab" not in token)
    return text


def run(lm: LM) -> Posterior:
    return infer(writes, lm, method="smc", n=8, seed=5)


@contextmanager
def through(proxy: FaultyProxy, table: TableServer | None = None, **options: Any) -> Iterator[LM]:
    """A model behind a proxy that does nothing until the model is loaded."""
    faults, proxy.faults = proxy.faults, lambda number: ""
    with serving(table or TableServer(TABLE)) as url, proxying(proxy, url) as broken:
        lm = load_lm(broken, tokenizer=TABLE, **{"backoff": 0.01, "retries": 3, "timeout": 20.0, **options})
        proxy.seen = 0
        proxy.faults = faults
        yield lm


@pytest.fixture(scope="module")
def undisturbed() -> Posterior:
    with serving(TableServer(TABLE)) as url:
        return run(load_lm(url, tokenizer=TABLE))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_changes_nothing(fault: str, undisturbed: Posterior) -> None:
    proxy = FaultyProxy(lambda number: fault if number % 3 == 0 else "")
    with through(proxy, retries=12) as lm:  # which request is a third one is chance, and so is how often
        found = run(lm)
    assert proxy.seen > 24 or fault in ("delay", "nan")  # requests were sent again
    assert [r.value for r in found.runs] == [r.value for r in undisturbed.runs]
    assert found.log_evidence == undisturbed.log_evidence
    assert [r.log_joint for r in found.runs] == [r.log_joint for r in undisturbed.runs]


def test_all_faults_in_turn_change_nothing(undisturbed: Posterior) -> None:
    proxy = FaultyProxy(lambda number: FAULTS[number // 2 % len(FAULTS)] if number % 2 else "")
    with through(proxy, retries=8) as lm:
        found = run(lm)
    assert [r.value for r in found.runs] == [r.value for r in undisturbed.runs]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("cut", "the connection broke"),
        ("reset", "the connection broke"),
        ("429", "it answered 429: not now"),
        ("500", "it answered 500: not now"),
        ("garbage", "none of an OpenAI-compatible server"),
        ("half", "none of an OpenAI-compatible server"),
        ("nothing", "none of an OpenAI-compatible server"),
        ("other", "none of an OpenAI-compatible server"),
        ("deep", "none of an OpenAI-compatible server"),
        ("infinite", "cannot convert float infinity"),
        ("bare", "its log-probabilities are missing"),
        ("null", "a log-probability is null"),
        ("uneven", "the most probable tokens in 2 places, of 1 tokens"),
    ],
)
def test_a_lasting_fault_is_an_error_that_says_what_to_do(fault: str, says: str) -> None:
    proxy = FaultyProxy(lambda number: fault)
    with through(proxy, retries=2) as lm:
        with pytest.raises(RequestError, match=rf"(?s){says}.*Tried 3 times.*Look whether the server is up"):
            lm.context("a").token().sample(0)
        assert proxy.seen == 3
        with pytest.raises(ProgramError, match=r"(?s)sample 'token\[0\]'.*test_server_faults\.py"):
            run(lm)


def test_a_server_that_never_answers_is_given_up() -> None:
    with through(FaultyProxy(lambda number: "hang"), retries=1, timeout=0.2) as lm:
        start = time.monotonic()
        with pytest.raises(RequestError, match=r"no answer within 0\.2 s \(timeout=\)"):
            lm.context("a").token().sample(0)
        assert time.monotonic() - start < 5


def test_one_request_without_an_answer_leaves_the_others() -> None:
    with through(FaultyProxy(lambda number: "500" if number < 1 else ""), retries=0, concurrency=1) as lm:
        engine = lm.engine.session()
        requests = [Generate(lm.context("a").node, TextSpec(max_tokens=2), derive(i, "x")) for i in range(5)]
        for request in requests:
            engine.submit(request, RandomSource())
        done, errors = [], 0
        while engine.pending:
            try:
                done += engine.step()
            except RequestError as error:
                errors += 1
                assert error.request in requests
        assert (len(done), errors) == (4, 1)
        assert len({id(completion.request) for completion in done}) == 4


@pytest.mark.parametrize("written", [lambda: "0.4", lambda: formatdate(time.time() + 2, usegmt=True)])
def test_a_server_that_wants_to_be_left_alone_is(written: Callable[[], str]) -> None:
    proxy = FaultyProxy(lambda number: "429" if number == 0 else "")
    with through(proxy) as lm:
        proxy.retry_after = written()
        start = time.monotonic()
        lm.context("a").token().sample(0)
        assert 0.35 < time.monotonic() - start < 5


@pytest.mark.parametrize("told", ["0", "-1", "nan", "inf", "soon", "Mon, 01 Jan 0001 00:00:00 -0000"])
def test_a_busy_server_that_names_no_time_is_given_some(told: str) -> None:
    end = math.inf
    proxy = FaultyProxy(lambda number: "429" if time.monotonic() < end else "")
    with through(proxy, backoff=0.05, retries=5) as lm:
        proxy.retry_after = told
        end = time.monotonic() + 0.3
        assert lm.context("a").token().sample(0)
        assert 1 < proxy.seen <= 6


def test_requests_that_wait_for_the_same_time_do_not_come_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_client, "_jitter", random.Random(0))
    arrived: list[float] = []

    def busy(number: int) -> str:
        arrived.append(time.monotonic())
        return "429" if number < 8 else ""

    proxy = FaultyProxy(busy)
    with through(proxy, backoff=0.1) as lm:
        proxy.retry_after = "0.2"
        engine = lm.engine.session()
        for seed in range(8):
            engine.submit(Generate(lm.context("a").node, TextSpec(max_tokens=1), seed), RandomSource())
        while engine.pending:
            engine.step()
    again = arrived[8:]
    assert len(again) == 8 and again[0] - arrived[0] > 0.2
    assert again[-1] - again[0] > 0.03


def test_a_wait_longer_than_allowed_is_an_error_at_once() -> None:
    proxy = FaultyProxy(lambda number: "503")
    with through(proxy) as lm:
        proxy.retry_after = "3600"
        with pytest.raises(RequestError, match="left alone for 3600 s, longer than longest_wait=60"):
            lm.context("a").token().sample(0)
        assert proxy.seen == 1


def test_busy_while_it_is_asked_what_it_can_do() -> None:
    """A fault while loading must not be taken for something that the server can't do."""
    with serving(TableServer(TABLE)) as url:
        plain = load_lm(url, tokenizer=TABLE).describe().partition(" (")[2]
        for fault in ("429", "503", "cut", "500"):
            proxy = FaultyProxy(lambda number, fault=fault: fault if number % 2 == 0 else "")  # type: ignore[misc]
            with proxying(proxy, url) as broken:
                found = load_lm(broken, tokenizer=TABLE, backoff=0.01).describe().partition(" (")[2]
            assert found == plain


@pytest.mark.parametrize("told", [True, False])
def test_a_run_goes_on_where_its_server_died(told: bool, tmp_path: Path) -> None:
    """With ``checkpoint=`` what was answered is not asked again; with and without log-probabilities."""
    table = TableServer(TABLE) if told else TableServer(TABLE, owner="?", ids=False, best=0, scoring=None)
    dead = FaultyProxy(lambda number: "500" if number > 10 else "")
    with through(dead, table, retries=0) as lm:
        with pytest.raises(ProgramError, match="it answered 500"):
            infer(writes, lm, method="smc", n=8, seed=5, checkpoint=tmp_path / "run")
        asked = dead.seen
        dead.faults = lambda number: ""
        found = infer(writes, lm, method="smc", n=8, seed=5, checkpoint=tmp_path / "run")
        again = dead.seen - asked
        undisturbed = run(lm)
    assert again < 24 - 5
    assert [r.value for r in found.runs] == [r.value for r in undisturbed.runs]
    assert found.log_evidence == undisturbed.log_evidence


def test_refusals_are_not_repeated() -> None:
    table = TableServer(TABLE)
    with serving(table) as url:
        lm = load_lm(url, tokenizer=TABLE)
        table.name = "renamed"
        table.bodies.clear()
        with pytest.raises(RequestError, match=r"refused \(404\).*does not exist.*model="):
            lm.context("a").token().sample(0)
        assert len(table.bodies) == 1


def test_a_dropped_run_leaves_nothing_behind() -> None:
    proxy = FaultyProxy(lambda number: "hang" if number < 6 else "")
    with through(proxy, concurrency=3) as lm:
        engine = lm.engine.session()
        for i in range(6):
            engine.submit(Generate(lm.context("a").node, TextSpec(max_tokens=1), i), RandomSource())
        stepping = Thread(target=lambda: engine.step(), daemon=True)
        stepping.start()
        while proxy.seen < 3:
            time.sleep(0.01)
        engine.cancel()
        assert engine.pending == 0
        proxy.faults = lambda number: ""
        assert lm.context("a").token().sample(0)  # the places of the dropped requests are free again


def test_errors_of_dropped_requests_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """The first error ends a run; that another request fails while it is dropped is no news."""
    with serving(TableServer(TABLE)) as url:
        client = Client(url, retries=0)
        sent: SimpleQueue[Future[None]] = SimpleQueue()

        def read(answer: Any) -> None:
            sent.get().cancel()
            raise ValueError("damaged")

        sent.put(client.send("models", None, read))
        client.ask("models", None, lambda answer: answer)  # the loop is through with the other then
        gc.collect()
    assert caplog.text == ""


def test_nobody_waits_for_a_server_while_there_is_work_here() -> None:
    """The server answers only once the other problem, whose model is in this process, is solved."""
    solved = Event()

    @program
    def two(lm: LM, last: bool) -> str:
        first = sample(lm.context("a").token())
        second = sample((lm.context("a") + first).token())
        if last:
            solved.set()
        return first + second

    proxy = FaultyProxy(lambda number: "hang")
    proxy.over = solved
    with through(proxy, retries=0) as lm:
        proxy.faults = lambda number: "hang" if number == 0 else ""
        here = LM(TABLE, LocalEngine(TABLE), "local")
        start = time.monotonic()
        with pytest.raises(ProgramError, match="the connection broke"):  # as it does after a wait
            list(infer_many(two, [(lm, False), (here, True)], method="importance", n=1, seed=0))
        assert solved.is_set() and time.monotonic() - start < 10


def test_connections_are_used_again() -> None:
    with serving(TableServer(TABLE)) as url:
        lm = load_lm(url, tokenizer=TABLE, concurrency=2)
        run(lm)
        model = lm.model
        assert isinstance(model, ServerModel) and model.client._lines is not None
        assert len(model.client._lines.pool._transport._pool.connections) <= 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_fork_has_connections_of_its_own() -> None:
    def ask(client: Client, told: Any) -> None:
        try:
            futures = [client.send("models", None, lambda answer: answer["data"][0]["id"]) for _ in range(4)]
            told.send([future.result(5) for future in futures])
        except BaseException as error:
            told.send(repr(error))

    with serving(TableServer(TABLE)) as url:
        client = Client(url, concurrency=2, retries=0, timeout=5.0)
        names = [client.send("models", None, lambda answer: answer["data"][0]["id"]) for _ in range(4)]
        assert [name.result(5) for name in names] == ["table"] * 4
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        child = context.Process(target=ask, args=(client, there))
        child.start()
        try:
            assert here.poll(10)
            assert here.recv() == ["table"] * 4
        finally:
            child.kill()
            child.join()
        assert client.ask("models", None, lambda answer: answer["data"][0]["id"]) == "table"


def test_arguments_outside_their_range() -> None:
    for name, value in [("concurrency", 0), ("retries", -1), ("timeout", 0.0), ("connect_timeout", -1.0)]:
        with pytest.raises(ValueError, match=name):
            Client("http://127.0.0.1:9/v1", **{name: value})  # type: ignore[arg-type]


def test_credentials_in_an_address_are_not_shown() -> None:
    client = Client("http://user:sesame@127.0.0.1:9/v1", retries=0)
    with pytest.raises(ServerError) as error:
        client.ask("models", None, lambda answer: answer)
    assert "sesame" not in str(error.value) + repr(client)
