"""What a compiled program asks of whoever runs it: the compiler's output types.

A compiled program is a set of *block* functions. A block runs native Python up to the next effect and returns
``(request, next_block, live)``. The runtime answers by calling ``next_block(answer, *live)``. Two special cases:

- ``next_block is None``: the program returned; ``request`` is its value.
- ``request is None``: nothing is asked; go on with ``next_block(*live)`` (the back edge of a loop).

So a suspended program is ``(next_block, live)``, plain data that can be copied and resumed any number of times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import Span

Live = tuple[Any, ...]
Block = Callable[..., tuple[Any, Any, Live]]


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """The static identity of an effect.

    Attributes:
        kind: ``sample``, ``observe``, ``factor``, ``condition``, ``twist``, ``call``, ``barrier`` or ``program``.
        name: its name within its program, without loop counters.
        depth: how many loop counters follow the name.
        program: the name of the program that it stands in.
        span: where it stands.
        dynamic: the name is computed at run time (``name=f"x{i}"``); ``name`` is then only for people.
    """

    kind: str
    name: str
    depth: int
    program: str
    span: Span
    dynamic: bool = False

    def address(self, index: Sequence[int]) -> str:
        """``name[i][j]`` for the given loop counters."""
        name = self.name
        for i in index:
            name = f"{name}[{i}]"
        return name

    @property
    def pattern(self) -> str:
        """The name as people are told it, e.g. ``line[·]`` inside a loop."""
        return self.name + "[·]" * self.depth


class Ask:
    """A request of a running program. ``index`` are the enclosing loops' counters; ``name`` a computed name."""

    __slots__ = ("index", "name", "site")

    site: Site
    index: tuple[int, ...]
    name: str | None

    @property
    def local_address(self) -> str:
        """The address within the program's own scope."""
        if self.name is not None:
            return self.name
        return self.site.address(self.index)


class Sample(Ask):
    """Integrate over ``distribution``; answered with a value. ``proposal`` (or ``None``) is where to draw it."""

    __slots__ = ("distribution", "proposal")

    def __init__(
        self, site: Site, index: tuple[int, ...], distribution: Any, proposal: Any = None, name: str | None = None
    ) -> None:
        self.site = site
        self.index = index
        self.distribution = distribution
        self.proposal = proposal
        self.name = name


class Observe(Ask):
    """Multiply the measure by the density of ``distribution`` at ``value``."""

    __slots__ = ("distribution", "value")

    def __init__(
        self, site: Site, index: tuple[int, ...], distribution: Any, value: Any, name: str | None = None
    ) -> None:
        self.site = site
        self.index = index
        self.distribution = distribution
        self.value = value
        self.name = name


class Factor(Ask):
    """Multiply the measure by ``exp(log_weight)``."""

    __slots__ = ("log_weight",)

    def __init__(self, site: Site, index: tuple[int, ...], log_weight: Any, name: str | None = None) -> None:
        self.site = site
        self.index = index
        self.log_weight = log_weight
        self.name = name


class Condition(Ask):
    """Multiply the measure by 1 if ``holds`` is true and by 0 if not."""

    __slots__ = ("holds",)

    def __init__(self, site: Site, index: tuple[int, ...], holds: Any, name: str | None = None) -> None:
        self.site = site
        self.index = index
        self.holds = holds
        self.name = name


class Twist(Ask):
    """Set the running hint to ``log_value``; it never changes the measure."""

    __slots__ = ("log_value",)

    def __init__(self, site: Site, index: tuple[int, ...], log_value: Any, name: str | None = None) -> None:
        self.site = site
        self.index = index
        self.log_value = log_value
        self.name = name


class Barrier(Ask):
    """Nothing: a point where the population may be resampled."""

    __slots__ = ()

    def __init__(self, site: Site, index: tuple[int, ...], name: str | None = None) -> None:
        self.site = site
        self.index = index
        self.name = name


class Call(Ask):
    """Run ``function``, a batched deterministic function, on ``args``; answered with its result for this particle."""

    __slots__ = ("args", "function")

    def __init__(
        self, site: Site, index: tuple[int, ...], function: Callable[..., Any], args: Live, name: str | None = None
    ) -> None:
        self.site = site
        self.index = index
        self.function = function
        self.args = args
        self.name = name


class Invoke(Ask):
    """Run another program inline, in its own address scope; answered with its return value."""

    __slots__ = ("args", "kwargs", "program")

    def __init__(
        self, site: Site, index: tuple[int, ...], program: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        self.site = site
        self.index = index
        self.program = program
        self.args = args
        self.kwargs = kwargs
        self.name = None


class Gather(Ask):
    """Several requests at once, none of which needs another's answer; answered with the list of their answers.

    It means the same as asking for one after the other, in their order.
    """

    __slots__ = ("asks",)

    def __init__(self, asks: Sequence[Ask]) -> None:
        self.asks = asks
        if asks:
            self.site = asks[0].site
            self.index = asks[0].index
        self.name = None


def each(kind: Callable[..., Ask], site: Site, index: tuple[int, ...], **rows: Sequence[Any]) -> Gather:
    """A request for each row.

    Args:
        kind: the class of the requests.
        site: their site.
        index: the counters of the loops around, without the row's own.
        rows: for each operand, its values, one a row.
    """
    columns = zip(*rows.values(), strict=True)
    return Gather([kind(site, (*index, i), **dict(zip(rows, row, strict=True))) for i, row in enumerate(columns)])


@dataclass(frozen=True, slots=True)
class EffectSpec:
    """A kind of effect: how the frontend recognises it, and what it is given.

    ``ppl.sample`` and its kin carry theirs as ``__ppl_effect__``.

    Attributes:
        kind: the request it becomes.
        required: names of the arguments that must be given, in positional order.
        optional: names of further arguments, by keyword or following the required ones.
        has_value: the effect's answer means something to the program.
        variadic: takes any number of further positional arguments.
        usage: the call as one would write it, for error messages.
    """

    kind: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ("name",)
    has_value: bool = False
    variadic: bool = False
    usage: str = ""

    @property
    def operands(self) -> tuple[str, ...]:
        """The fields of the request that must be given; of the ``optional`` ones ``name`` is, if it is computed."""
        return (*self.required, "args") if self.variadic else self.required


EFFECTS: dict[str, EffectSpec] = {
    spec.kind: spec
    for spec in (
        EffectSpec("sample", ("distribution",), ("proposal", "name"), True, usage="sample(distribution)"),
        EffectSpec("observe", ("distribution", "value"), usage="observe(distribution, value)"),
        EffectSpec("factor", ("log_weight",), usage="factor(log_weight)"),
        EffectSpec("condition", ("holds",), usage="condition(holds)"),
        EffectSpec("twist", ("log_value",), usage="twist(log_value)"),
        EffectSpec("barrier", (), usage="barrier()"),
        EffectSpec("call", ("function",), has_value=True, variadic=True, usage="call(function, *args)"),
        EffectSpec("program", ("program", "args", "kwargs"), (), True, usage="other(args)"),
    )
}
"""All kinds. ``program`` is what calling another program becomes."""
