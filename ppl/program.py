"""``@program``: a Python function as a probabilistic program."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from types import FrameType, MethodType
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from .compiler import Compiled, Site, compile_function
from .compiler.requests import Block
from .effects import EffectOutsideProgram
from .runtime.fork import fork
from .runtime.machine import Machine
from .runtime.particle import Fixed

if TYPE_CHECKING:
    from .compiler.passes import Optimised, Pass, Pipeline

Passes: TypeAlias = "str | Pass | Sequence[str | Pass] | Pipeline | None"


class Program:
    """A compiled probabilistic program.

    Calling it runs it once forward and returns its value, as the plain function would: evidence is ignored. Called
    inside another program it runs inline, in its own address scope. Hand it to ``infer`` for its posterior.
    """

    __ppl_program__ = True
    __name__: str
    __qualname__: str

    def __init__(
        self,
        function: Callable[..., Any],
        fixed: Mapping[str, Fixed] | None = None,
        compiler: Callable[[Callable[..., Any]], Compiled] = compile_function,
        pipeline: Pipeline | None = None,
    ) -> None:
        """Use :func:`program` instead.

        Args:
            function: the plain function.
            fixed: sites fixed from outside, by address.
            compiler: what makes a function run.
            pipeline: the passes that it runs under, if that was chosen.

        Raises:
            CompileError: it can't be compiled.
        """
        self._function = function
        self._compiler = compiler
        self._compiled = compiler(function)
        self._fixed = dict(fixed or {})
        self.pipeline = pipeline
        functools.update_wrapper(self, function, updated=())

    # --- what the runtime uses ---

    @property
    def function(self) -> Callable[..., Any]:
        """The plain function that it was made of."""
        return self._function

    @property
    def compiler(self) -> Callable[[Callable[..., Any]], Compiled]:
        """What made the function run."""
        return self._compiler

    def __reduce__(self) -> str | tuple[Any, ...]:
        from .shipping import reduced

        return reduced(self)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        from .shipping import restore

        restore(self, state)

    def __ppl_fork__(self, memo: dict[int, Any]) -> Program:
        """A copy for another particle: a nested program that captured mutable variables gets its own."""
        function = fork(self._function, memo)
        if function is self._function:
            return self
        new = memo[id(self)] = self._like(function, self._fixed, self.pipeline)
        return new

    def _like(
        self, function: Callable[..., Any], fixed: Mapping[str, Fixed] | None, pipeline: Pipeline | None
    ) -> Program:
        """A program that differs in these."""
        return type(self)(function, fixed, self._compiler, pipeline)

    def with_fixed(self, fixed: Mapping[str, Fixed]) -> Program:
        """The same program with further sites fixed, whether or not :meth:`given` would take their addresses."""
        return self._like(self._function, {**self._fixed, **fixed}, self.pipeline)

    @property
    def entry(self) -> Block:
        """Takes the program's arguments and runs to its first effect."""
        return self._compiled.entry

    @property
    def fixed(self) -> Mapping[str, Fixed] | None:
        """The sites fixed by :meth:`given` and :meth:`do`."""
        return self._fixed or None

    def prepared(self, pipeline: Pipeline) -> Prepared:
        """Itself, and every program that it calls, under a pipeline: what makes their first blocks."""
        return Prepared(self._left(pipeline))

    def entry_under(self, pipeline: Pipeline) -> Block:
        """:attr:`entry`, under a pipeline."""
        from .compiler.passes import optimise

        return optimise(self._function, self._compiled, self._left(pipeline))[0].entry

    def _left(self, pipeline: Pipeline) -> Pipeline:
        """A pipeline that leaves what is fixed here, and knows what is observed."""
        observed = [address for address, fixed in self._fixed.items() if fixed.observed]
        return pipeline.keeping(self._fixed).observing(observed)

    # --- what users use ---

    @property
    def compiled(self) -> Compiled:
        """What the compiler made of the function."""
        return self._compiled

    @property
    def name(self) -> str:
        """The function's name."""
        return self._compiled.name

    @property
    def sites(self) -> tuple[Site, ...]:
        """Every effect of the program itself, in source order."""
        return self._compiled.sites

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run once forward, ignoring evidence, with fresh randomness; see ``infer`` for reproducible runs."""
        if _inside_a_program(sys._getframe(1)):
            raise EffectOutsideProgram(
                f"the program {self.name!r} was called where the run can't be cut: inside a comprehension, lambda, "
                "try or with, or through an attribute or subscript. Give it a name of its own and call that: "
                f"p = ...; x = p(...)"
            )
        from .infer import infer

        return infer(self, *args, method="forward", n=1, kwargs=kwargs).runs[0].value

    def given(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> Program:
        """The same program with sample sites turned into observations of the given values.

        Args:
            values: address → value, for addresses that are no Python names: ``{"x[2]": 1, "child/x": 0}``.
            named: the same, by keyword.

        Raises:
            ValueError: the program has no such sample site; the message lists those that it has.
        """
        return self._with(True, values, named)

    def do(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> Program:
        """The same program with sample sites set from outside: an intervention, which says nothing about the rest.

        Args:
            values: address → value.
            named: the same, by keyword.

        Raises:
            ValueError: the program has no such sample site; the message lists those that it has.
        """
        return self._with(False, values, named)

    def with_passes(self, passes: Passes = None, keep: Iterable[str] = ()) -> Program:
        """The same program, to be run under a pipeline of the compiler's passes.

        Args:
            passes: names and pass objects in the order in which they are to run; ``"default"`` (or ``None``) for those
                that keep the measure over traces, ``"all"`` for every registered pass, ``[]`` for none. Programs that
                it calls run under the same.
            keep: addresses that a pass must leave, for passes that may drop some; ``"*"`` for all. What ``given`` and
                ``do`` fix, and what proposals are made for, is always left.

        Raises:
            ValueError: there is no pass of that name.
        """
        from .compiler.passes import make_pipeline

        return self._like(self._function, self._fixed, make_pipeline(passes, keep))

    def explain(self, passes: Passes = None, keep: Iterable[str] = ()) -> str:
        """What the compiler's passes did to the program and what they could not, with the reasons, and the IR.

        Args:
            passes, keep: as for :meth:`with_passes`; by default what the program runs under.
        """
        from .compiler.passes.explain import explain

        return explain(self.optimised(passes, keep))

    def optimised(self, passes: Passes = None, keep: Iterable[str] = (), debug: bool | None = None) -> Optimised:
        """What a pipeline makes of the program: the IR after each pass, and all remarks.

        Args:
            passes, keep: as for :meth:`with_passes`; by default what the program runs under.
            debug: verify the IR before the passes and after each of them; by default if ``PPL_DEBUG`` is set.

        Raises:
            InvalidIR: a pass broke the IR's rules.
        """
        from .compiler.passes import make_pipeline, optimise

        pipeline = self.pipeline if passes is None and self.pipeline is not None else make_pipeline(passes, keep)
        return optimise(self._function, self._compiled, self._left(pipeline), debug)[1]

    def _with(self, observed: bool, listed: Mapping[str, Any] | None, named: Mapping[str, Any]) -> Program:
        if listed is not None and not isinstance(listed, Mapping):
            raise TypeError(f"write given(x=value) or given({{'x[0]': value}}), not given({listed!r})")
        values = {**(listed or {}), **named}
        for address in values:
            if not isinstance(address, str):
                raise TypeError(f"addresses are strings, as in {{'x[0]': value}}; got {address!r}")
            check_address(self, address)
        return self.with_fixed({address: Fixed(value, observed) for address, value in values.items()})

    def __repr__(self) -> str:
        changes = "".join(f".{'given' if f.observed else 'do'}({{{a!r}: {f.value!r}}})" for a, f in self._fixed.items())
        return f"<program {self.name}{changes}>"


class Prepared:
    """Programs as they run under a pipeline: from a program to its first block. Made anew for each inference, since
    what a program's outside names stand for may have changed in between."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self._entries: WeakKeyDictionary[Any, Block] = WeakKeyDictionary()

    def __call__(self, called: Any) -> Block:
        found = self._entries.get(called)
        if found is None:
            found = called.entry_under(self.pipeline) if isinstance(called, Program) else called.entry
            self._entries[called] = found
        return found


def program(fn: Callable[..., Any] | None = None) -> Program:
    """Compile a function into a program (a decorator).

    Args:
        fn: written with ``def``; plain Python around ``sample``, ``observe`` and their kin. Between effects it must
            be deterministic and free of outside side effects: a run may be copied, repeated or dropped at any effect.

    Raises:
        CompileError: a ``SyntaxError`` that shows what can't be compiled, and what to write instead.
    """
    if isinstance(fn, Program):
        return fn
    if fn is None:
        raise TypeError("write @program without brackets")
    return Program(fn)


program.__ppl_decorator__ = True  # type: ignore[attr-defined]


def needs_program(given: Any, asker: str) -> None:
    """Refuse what is no program, saying what to write instead.

    Args:
        given: what was given.
        asker: who takes a program.

    Raises:
        TypeError: it is none.
    """
    if isinstance(given, Program):
        return
    hint = "put @program above it" if callable(given) else f"write {asker}(program, x), not {asker}(program(x))"
    if isinstance(given, MethodType):
        hint = "a method can't be a program: make it a function that takes the object as an argument"
    elif isinstance(getattr(given, "func", None), Program):
        hint = f"give its arguments to {asker}: {asker}({given.func.name}, x)"
    elif isinstance(getattr(given, "__wrapped__", None), Program):
        hint = f"a decorator above @program has wrapped {given.__wrapped__.name}: take it off"
    raise TypeError(f"{asker} takes a @program, got {type(given).__name__}: {hint}")


def check_address(prog: Program, address: str) -> None:
    """Refuse an address that the program can't have.

    Raises:
        ValueError: listing the sites that it has.
    """
    head, slash, _ = address.partition("/")
    kind = "program" if slash else "sample"
    sites = [s for s in prog.sites if s.kind == kind]
    if any(s.dynamic for s in sites):
        return
    base, indices = _split(head)
    named = [s for s in sites if s.name == base]
    if not named:
        known = ", ".join(dict.fromkeys(_known(prog.sites)))
        raise ValueError(f"{prog.name} has no sample site {address!r}; it has {known or 'none'}")
    if all(s.depth != indices for s in named):
        example = base + "[0]" * named[0].depth
        raise ValueError(
            f"{base!r} in {prog.name} stands in {named[0].depth or 'no'} loop(s): its addresses look like {example!r}, "
            f"not {head!r}"
        )


def check_kept(prog: Program, keep: Iterable[str]) -> tuple[str, ...]:
    """Refuse addresses and patterns to keep (``"x"``, ``"x[*]"``, ``"judge/*"``) that no address can meet.

    Returns:
        They themselves; one string counts as one address.

    Raises:
        ValueError: with what was probably meant.
    """
    patterns = (keep,) if isinstance(keep, str) else tuple(keep)
    sites = [site for site in prog.sites if site.kind in ("sample", "program")]
    if any(site.dynamic for site in sites):
        return patterns
    names = list(dict.fromkeys(site.name for site in sites))
    calls = any(site.kind == "program" for site in sites)
    for pattern in patterns:
        head, slash, _ = pattern.partition("/")
        head = re.sub(r"(\[[^\[\]]*\])*$", "", head)
        inside = calls and not slash  # a name of a program that it calls
        if inside or any(fnmatchcase(name, head) for name in names):
            continue
        close = get_close_matches(head, names, 1)
        meant = f"did you mean {pattern.replace(head, close[0], 1)!r}? " if close else ""
        known = ", ".join(dict.fromkeys(_known(prog.sites)))
        raise ValueError(f"keep={pattern!r} meets no address of {prog.name}: {meant}it has {known or 'none'}")
    return patterns


def _split(part: str) -> tuple[str, int]:
    indices = re.search(r"(\[\d+\])*$", part)
    assert indices is not None
    return part[: indices.start()], indices.group().count("[")


def _known(sites: tuple[Site, ...]) -> Iterator[str]:
    for site in sites:
        if site.kind == "sample":
            yield site.pattern
        elif site.kind == "program":
            yield f"{site.pattern}/…"


def _inside_a_program(frame: FrameType | None) -> bool:
    """Whether a program is being run by the machine further up the stack, with no inference in between."""
    while frame is not None:
        if frame.f_code is Machine.run.__code__:
            return True
        frame = frame.f_back
    return False
