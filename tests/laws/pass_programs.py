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
from collections import defaultdict
from random import Random

from ppl import barrier, call, condition, dist, factor, observe, program, sample, table_lm, twist

lm = table_lm(["a", "b", "<eos>"], eos="<eos>", seed=5)


class Meter:  # counts how often it was looked at
    def __init__(self):
        self.seen = 0

    @property
    def tick(self):
        self.seen += 1
        return self.seen

    def token(self):
        return self.tick

    def plus(self, xs):
        return [x + self.seen for x in xs]

    def __bool__(self):
        return self.tick % 2 == 0

    def __iter__(self):
        return iter([self.tick])

    def __str__(self):
        return str(self.tick)


def lookup(table, key):
    return table[key]


@program
def child(holds):
    condition(holds)
    return 0


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


# --- shapes that every pass which moves things has to get right -----------------------------------------------------

LOOKS = [
    ("defaultdict(int)", '{o}["k"]', "len({o})"),
    ("defaultdict(int)", 'lookup({o}, "k")', "len({o})"),
    ("defaultdict(int)", '{o}["k"] + {o}["l"]', "len({o})"),
    ("Meter()", "{o}.tick", "{o}.seen"),
    ("Meter()", "{o}.token()", "{o}.seen"),
    ("Meter()", "list({o})[0]", "{o}.seen"),
    ("Meter()", 'f"{{{o}}}"', "{o}.seen"),
    ("Meter()", "not {o}", "{o}.seen"),
    ("Random(7)", '{o}.choice("abc")', 'len({o}.choice(["", "a", "ab"]))'),
]
"""An object, code that changes it by looking at it, and a number that tells."""


def looking(writer: PassWriter, loops: int, indent: str, looks: Sequence[tuple[str, str, str]]) -> list[str]:
    """A look at an object that changes by it, choices around that, and something that depends on how it is then."""
    made, look, told = writer.draw(st.sampled_from(looks))
    o, k = f"o{next(writer.fresh)}", f"k{next(writer.fresh)}"
    told = told.format(o=o)
    first = writer.sampled(f"sample({writer.model_call()})", loops, "")
    call = writer.model_call(f"'a' * (1 + {told})")
    last = [f"factor(0.3 * {told})", writer.sampled(f"sample({call})", loops, "")]
    again = writer.pick([f"call({o}.plus, 1)", told]) if made == "Meter()" else told
    lines = [f"{o} = {made}", first, f"{k} = {look.format(o=o)}", writer.sampled("sample(dist.flip(0.25))", loops, "")]
    return [indent + line for line in (*lines, writer.pick(last), f"xs.append({again} + len(str({k})))")]


def stateful(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """Anything that changes when it is looked at."""
    return looking(writer, loops, indent, LOOKS)


def namesake(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """Methods that change their object, and are called like those of a context."""
    return looking(writer, loops, indent, [look for look in LOOKS if ".token" in look[1] or ".choice" in look[1]])


def bound(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """A batched function that is a method, and a change of its object between two calls."""
    o, f = f"o{next(writer.fresh)}", f"f{next(writer.fresh)}"
    number = writer.number()
    lines = [f"{o} = Meter()", f"{f} = {o}.plus", f"c1 = call({f}, {number})", f"{o}.seen += 5"]
    return [indent + line for line in (*lines, f"c2 = call({f}, {number})", "xs.append(c1 + c2)")]


def unfit(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """An effect that can't do with what it is given, but where evidence before it has ruled that out."""
    x = f"u{next(writer.fresh)}"
    writer.budget -= 2**loops
    given, effect = writer.draw(
        st.sampled_from(
            [
                ("0.5", "factor({w})"),
                ("dist.flip(0.3)", "observe({w}, True)"),
                ('"a"', 'observe(lm.context("a").token(), {w})'),
                ("1", "call(plus_one, {w})"),
            ]
        )
    )
    guard = writer.pick([f"condition({x} and n is not None)", f"child({x})"])
    asked = [f"c{x} = call(plus_one, 1)", writer.sampled("sample(dist.flip(0.25))", loops, "")]
    lines = [f"{x} = sample(dist.flip(0.5))", f"w{x} = {given} if {x} else None", *asked, guard]
    return [indent + line for line in (*lines, effect.format(w=f"w{x}"))]


def impossible(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """An observation of a model that has no mass, and after it what fails where it has none."""
    x = f"u{next(writer.fresh)}"
    writer.budget -= 2**loops
    guard = writer.pick(['choice(["a", "b"])', "token()", "text(max_tokens=1)"])
    lines = [
        f'{x} = sample(lm.context("a").choice(["a", "b", "ba"]))',
        f'observe(lm.context("b").{guard}, {x})',
        f'observe(lm.context("a" * {{"a": 1, "b": 2}}[{x}]).token(), "a")',
    ]
    return [indent + line for line in lines]


HARD: list[Shape] = [stateful, bound, unfit, impossible]


def sources(shapes: Sequence[Shape], choices: int = 3) -> st.SearchStrategy[str]:
    """Programs ``main(n)`` with about ``choices`` random choices, in which the shapes occur.

    The first shape, which is what the pass is for, occurs in each of them.
    """

    @st.composite
    def build(draw: Callable[[Any], Any]) -> str:
        writer = PassWriter(draw, choices)
        writer.shapes = shapes
        body = ["n = int(n)", "xs = []", "ys = xs"]  # of a parameter, the compiler knows nothing
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


def outcomes(
    programs: st.SearchStrategy[str], check: Callable[[str], bool | None], examples: int = 700
) -> Counter[bool | None]:
    """How often ``check`` of random programs returned what: True where a pass fired and kept its law, which is tried
    until it has been 300 times."""
    counts: Counter[bool | None] = Counter()

    @given(programs)
    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
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
