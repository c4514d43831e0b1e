"""Random finite programs that give the passes something to do, and the check that all their tests share.

A pass's generator is a :class:`Writer` with a list of *shapes*: statements that the pass is about, put among the
statements of ``random_programs``. Every attribute of a model call is drawn, so that one which is lost shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from ppl import Program, TooLarge
from ppl.certificate_passes import validate_passes
from ppl.compiler.passes import Pass, make_pipeline, optimise

from .random_programs import Writer, compiled, indented

MODEL_CALLS = [
    'lm.context("{c}").token(temperature={t})',
    'lm.context("{c}").token(top_k={k})',
    'lm.context("{c}").token(top_p={p})',
    'lm.context("{c}").text(stop="{s}", max_tokens=2, temperature={t}, top_k={k})',
    'lm.context("{c}").choice(["a", "b{s}"], temperature={t})',
    'judge("{c}", {t})',
]
HEADER = """\
from ppl import barrier, call, condition, dist, factor, observe, program, sample, table_lm, twist

lm = table_lm(["a", "b", "<eos>"], eos="<eos>", seed=5)


def plus_one(xs):
    return [x + 1 for x in xs]


def judge(text, heat):
    return lm.context(text).choice(["a", "ba"], temperature=heat)


"""
"""With a model whose every context has probabilities of its own."""

FIRED = 300
"""On so many random programs does the test of a pass want it to have fired."""
Shape = Callable[["PassWriter", int, str], "list[str]"]


class PassWriter(Writer):
    """Writes programs in which every other statement or so has one of the given shapes."""

    shapes: Sequence[Shape] = ()

    @property
    def taken(self) -> set[str]:
        """Names that were given to sites by hand, of which a program may use each once."""
        return self.__dict__.setdefault("_taken", set())

    def statement(self, depth: int, loops: int) -> list[str]:
        if self.budget >= 2**loops and self.shapes and self.draw(st.booleans()):
            return list(self.draw(st.sampled_from(self.shapes))(self, loops, ""))
        return super().statement(depth, loops)

    def model_call(self, context: str | None = None) -> str:
        """A distribution over text, all attributes drawn; ``context`` is an expression for its context."""
        call = self.pick(MODEL_CALLS).format(
            c=self.pick(["a", "ab", "b", "bb"]),
            t=self.pick(["1.0", "0.5", "2.0"]),
            k=self.pick(["1", "2"]),
            p=self.pick(["0.6", "0.9"]),
            s=self.pick(["a", "b"]),
        )
        if context is not None:
            call = call.replace('"' + call.split('"')[1] + '"', context, 1)
        return call

    def sampled(self, distribution: str, loops: int, indent: str) -> str:
        """A sample into a fresh variable, whose name is returned by way of ``names``; costs a random choice."""
        self.budget -= 2**loops
        name = f"v{next(self.fresh)}"
        return f"{indent}{name} = {distribution}"


def sources(shapes: Sequence[Shape], choices: int = 3) -> st.SearchStrategy[str]:
    """Programs ``main(n)`` with about ``choices`` random choices, in which the shapes occur.

    The first shape, which is what the pass is for, occurs in each of them.
    """

    @st.composite
    def build(draw: Callable[[Any], Any]) -> str:
        writer = PassWriter(draw, choices)
        writer.shapes = shapes
        body = ["xs = []", "ys = xs"]
        before, after = draw(st.integers(0, 1)), draw(st.integers(0, 1))
        sure = shapes[0](writer, 0, "")  # written first, as long as there are choices left to make
        for _ in range(before):
            body += writer.statement(1, 0)
        body += sure
        for _ in range(after):
            body += writer.statement(1, 0)
        names = ", ".join(dict.fromkeys(writer.names))
        body.append(f"return ({names}, tuple(xs), len(ys))")
        return HEADER + "\n".join(["@program", "def main(n):", *indented(body)]) + "\n"

    return build()


def outcomes(programs: st.SearchStrategy[str], check: Callable[[str], bool | None]) -> Counter[bool | None]:
    """How often ``check`` of random programs returned what: True where a pass fired and kept its law, which is tried
    until it has been 300 times."""
    counts: Counter[bool | None] = Counter()

    @given(programs)
    @settings(max_examples=700, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def each(source: str) -> None:
        if counts[True] < FIRED:
            counts[check(source)] += 1

    each()
    return counts


def fires(program: Program, passes: Sequence[Pass], keep: Sequence[str] = ()) -> bool:
    """Whether the passes change the program itself."""
    pipeline = make_pipeline(passes, keep)
    return optimise(program._function, program.compiled, pipeline)[1].changed


def check(source: str, passes: Sequence[Pass], keep: Sequence[str] = (), limit: int = 150) -> bool | None:
    """Assert that the passes keep their law on a program.

    Returns:
        Whether they changed anything; ``None`` if the program is too large.
    """
    program = compiled(source)
    fired = fires(program, passes, keep)
    if not fired:
        return False
    try:
        certificate = validate_passes(program, 1, passes=passes, keep=keep, limit=limit)
    except TooLarge:
        return None
    assert certificate, f"{certificate}\non\n{source}"
    return True


def written(body: str) -> str:
    """A program ``main(n)`` by hand, from the statements of its body."""
    lines = ["@program", "def main(n):", *indented(["xs = []", *body.strip().split("\n")])]
    return HEADER + "\n".join(lines) + "\n"


def counterexample(
    wrong: Pass, corpus: Sequence[str], shapes: Sequence[Shape], keep: Sequence[str] = (), examples: int = 400
) -> str:
    """A program on which a wrong pass breaks its law: the measure differs, the IR is invalid, or a run fails that did
    not. The corpus is tried first, then random programs.

    Raises:
        NoSuchExample: none was found.
    """

    def breaks(source: str) -> bool:
        program = compiled(source)
        try:
            return not validate_passes(program, 1, passes=[wrong], keep=keep, limit=100)
        except TooLarge:
            return False
        except Exception:
            return works(program)

    for source in corpus:
        if breaks(source):
            return source
    chosen = settings(
        max_examples=examples,
        phases=[Phase.generate],
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return find(sources(shapes), breaks, settings=chosen)


def works(program: Program) -> bool:
    """Whether a program can be enumerated as it was written."""
    try:
        return bool(validate_passes(program, 1, passes=[], limit=100))
    except Exception:
        return False
