"""What passes know of a program: who defines and uses a value, what its Python touches, which distribution it makes.

Everything is conservative. What can't be resolved touches everything, may fail, and makes no known distribution.
"""

from __future__ import annotations

import ast
import functools
import math
import types
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from . import ir
from .contents import holds_plainly
from .kinds import ATOMIC, DRAWN, FIXED, Kind, Touch, inside, iterated, join, member
from .liveness import Liveness, analyse
from .names import Names
from .purity import Callee, Purity, walruses
from .source import MISSING

EVIDENCE = ("observe", "factor", "condition")


@dataclass(frozen=True)
class Constructor:
    """A call that makes a distribution.

    Attributes:
        family: which: ``flip``, ``categorical``, ``uniform``, ``delta`` of ``ppl.dist``; ``torch.Normal`` and so on;
            ``model.text``, ``model.choice`` for a context's; ``helper.…`` if a helper function makes it.
        node: the statement.
        call: the call in it.
    """

    family: str
    node: ir.Py
    call: ast.Call

    def argument(self, place: int, word: str) -> ast.expr | None:
        """An argument by its place or its keyword, or ``None`` if it is not given plainly."""
        if any(isinstance(a, ast.Starred) for a in self.call.args) or any(k.arg is None for k in self.call.keywords):
            return None
        if place < len(self.call.args):
            return self.call.args[place]
        return next((k.value for k in self.call.keywords if k.arg == word), None)

    def value(self, place: int, word: str) -> ir.Value | None:
        """The value that an argument is, if it is a plain variable of the program."""
        found = self.argument(place, word)
        return dict(self.node.reads).get(found.id) if isinstance(found, ast.Name) else None

    @property
    def local(self) -> bool:
        """Whether it answers at once, without a model."""
        return not self.family.removeprefix("helper.").startswith("model.")


F = TypeVar("F", bound=Callable[..., Any])


def remembered(function: F) -> F:
    """A question about a node or value, which has one answer as long as the facts live."""

    @functools.wraps(function)
    def ask(facts: Facts, what: Any) -> Any:
        answers = facts.answers[function]
        try:
            return answers[what]
        except KeyError:
            answer = answers[what] = function(facts, what)
            return answer

    return ask  # type: ignore[return-value]


class Facts:
    """Facts about one program; IR that was rewritten has facts of its own.

    Args:
        program: verified IR.
        names: what its outside names stand for.
    """

    def __init__(self, program: ir.Program, names: Names) -> None:
        self.program = program
        self.names = names
        self.answers: defaultdict[Callable[..., Any], dict[Any, Any]] = defaultdict(dict)
        self.definer: dict[ir.Value, ir.Node] = {}
        self.members = Kind.OTHER
        self.users: dict[ir.Value, list[ir.Node]] = {}
        self._home: dict[ir.Node, tuple[ir.Node | None, ir.Region, int]] = {}
        self._index(program.body, None)

    def _index(self, region: ir.Region, parent: ir.Node | None) -> None:
        for place, node in enumerate((*region.nodes, region.end)):
            self._home[node] = (parent, region, place)
            self.definer.update((value, node) for value in node.defines)
            for value in node.uses:
                self.users.setdefault(value, []).append(node)
            for inner in node.regions:
                self._index(inner, node)

    def place_in(self, node: ir.Node, neighbour: ir.Node) -> int | None:
        """Where in the region of ``neighbour`` a node stands, itself or what it is in; ``None`` if it is not in it."""
        region = self._home[neighbour][1]
        current: ir.Node | None = node
        while current is not None and current in self._home:
            parent, home, place = self._home[current]
            if home is region:
                return place
            current = parent
        return None

    @cached_property
    def liveness(self) -> Liveness:
        """Which values are needed where."""
        return analyse(self.program)

    # --- values ---

    @cached_property
    def kinds(self) -> dict[ir.Value, Kind]:
        """What every value surely is; parameters of the program may be anything."""
        self.members = Kind.KNOWN  # believed, until something strange is put somewhere
        found = self._kinds()
        if not all(self._holds_plainly(node, found) for node in ir.walk(self.program.body)):
            self.members = Kind.OTHER
            found = self._kinds()
        return found

    def _holds_plainly(self, node: ir.Node, kinds: dict[ir.Value, Kind]) -> bool:
        """Whether a node puts nothing strange into any container, if there is nothing strange in any before."""
        if isinstance(node, ir.Py):
            return holds_plainly(self._purity(node, lambda value: kinds.get(value, Kind.OTHER)), node.code)
        if isinstance(node, ir.Effect) and node.site.kind == "program":  # which may change what it is given
            return all(self._is_handed_fixed(value, kinds) for word, value in node.args if word != "program")
        return True

    def _is_handed_fixed(self, value: ir.Value, kinds: dict[ir.Value, Kind]) -> bool:
        if kinds.get(value) in FIXED:
            return True
        node, code = self.expression(value) or (None, None)
        if node is None or not isinstance(code, ast.Tuple | ast.Dict):
            return False
        purity = self._purity(node, lambda value: kinds.get(value, Kind.OTHER))
        parts = code.elts if isinstance(code, ast.Tuple) else [*filter(None, code.keys), *code.values]
        return all(purity.kind(part) in FIXED for part in parts)

    def _kinds(self) -> dict[ir.Value, Kind]:
        """The least fixed point: what a value is, it is whatever it comes from."""
        sources = list(_sources(self.program.body))
        found = dict.fromkeys(self.program.body.params, Kind.OTHER)
        known = {value for value, _ in sources} | found.keys()
        leaning: dict[ir.Value, list[tuple[ir.Value, ir.Node | ir.Value]]] = {}
        for pair in sources:
            for used in (pair[1],) if isinstance(pair[1], ir.Value) else pair[1].uses:
                leaning.setdefault(used, []).append(pair)

        def kind(value: ir.Value) -> Kind:
            return found.get(value, Kind.NEVER if value in known else Kind.OTHER)

        while sources:
            changed: dict[ir.Value, None] = {}
            for value, source in sources:
                before = kind(value)
                after = join((before, self._from(value, source, kind))) if before is not Kind.OTHER else before
                if after is not before:
                    found[value] = after
                    changed[value] = None
            sources = [pair for value in changed for pair in leaning.get(value, ())]
        return found

    def _from(self, value: ir.Value, source: ir.Node | ir.Value, kind: Callable[[ir.Value], Kind]) -> Kind:
        """What a value is that comes from ``source``."""
        if isinstance(source, ir.Value):
            return Kind.NEVER if source is ir.UNDEFINED else kind(source)
        if isinstance(source, ir.For):  # the item
            return member(kind(source.iterable), self.members)
        if isinstance(source, ir.Py):
            return self._assigned_kind(value, source, kind)
        if isinstance(source, ir.Effect) and not isinstance(source, ir.Each) and source.site.kind == "sample":
            return DRAWN.get(kind(dict(source.args)["distribution"]), Kind.OTHER)
        return Kind.OTHER

    def _assigned_kind(self, value: ir.Value, node: ir.Py, kind: Callable[[ir.Value], Kind]) -> Kind:
        purity, code = self._purity(node, kind), node.code
        names = [name for name, written in node.writes if written is value]
        if node.tied or len(names) != 1:
            plain = isinstance(code, ast.AugAssign) and isinstance(code.target, ast.Name) and len(node.writes) == 1
            return purity.kind(_sum(code)) if plain and isinstance(code, ast.AugAssign) else Kind.OTHER
        if names[0] in self._walruses(node):
            return purity.variable(names[0])
        if isinstance(code, ast.AugAssign):
            return purity.kind(_sum(code))
        if not isinstance(code, ast.Assign):
            return Kind.OTHER
        taken = {name: each for target in code.targets for name, each in purity.taken(target, code.value).items()}
        return taken.get(names[0], Kind.OTHER)

    @cached_property
    def atoms(self) -> frozenset[ir.Value]:
        """The values that surely are numbers, strings, truth values or ``None``: nobody can change them."""
        return frozenset(value for value, kind in self.kinds.items() if kind in ATOMIC)

    def kind(self, value: ir.Value) -> Kind:
        """What a value surely is."""
        return self.kinds.get(value, Kind.OTHER)

    @remembered
    def _walruses(self, node: ir.Py) -> list[tuple[str, ast.expr | None]]:
        return walruses(node.code)

    def _purity(self, node: ir.Py, kind: Callable[[ir.Value], Kind] | None = None) -> Purity:
        reads, writes = dict(node.reads), dict(node.writes)
        known: Callable[[ir.Value], Kind] = self.kind if kind is None else kind
        if kind is None:
            _ = self.kinds  # and with them what is in containers
        found = Purity(
            self.names,
            lambda name: name in reads or name in writes or (name.startswith("·") and name[1:].isdigit()),
            lambda name: known(reads[name]) if name in reads else Kind.OTHER,
            self.members,
        )
        walrus = self._walruses(node)
        if not walrus:
            return found
        bound = found.bound(walrus, {name: found.variable(name) for name, _ in walrus if name in reads})
        return Purity(found.names, found.local, lambda name: bound.get(name) or found.variable(name), self.members)

    @remembered
    def expression(self, value: ir.Value) -> tuple[ir.Py, ast.expr] | None:
        """The expression that a value is, and the statement that computes it; it sees through ``y = x``."""
        node = self.definer.get(value)
        code = _assigned(node)
        if code is None or not isinstance(node, ir.Py):
            return None
        if isinstance(code, ast.Name) and code.id in dict(node.reads):
            return self.expression(dict(node.reads)[code.id]) or (node, code)
        return node, code

    @remembered
    def constructor(self, value: ir.Value) -> Constructor | None:
        """The call of a known constructor that makes a value, if that is what it is."""
        node, call = self.expression(value) or (None, None)
        if node is None or not isinstance(call, ast.Call):
            return None
        family = self.callee(node, call).family
        return None if family is None else Constructor(family, node, call)

    def callee(self, node: ir.Py, call: ast.Call) -> Callee:
        """What is known of the function that a statement calls."""
        return self._purity(node).callee(call)

    def literals(self, node: ir.Py, code: ast.expr) -> list[Any] | None:
        """What an expression may be, where that is a short list of constants; a conditional has two."""
        if isinstance(code, ast.IfExp):
            then, orelse = self.literals(node, code.body), self.literals(node, code.orelse)
            return None if then is None or orelse is None else [*then, *orelse]
        try:
            return [ast.literal_eval(code)]
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            pass
        if isinstance(code, ast.Name) and code.id in dict(node.reads):
            found = self.expression(dict(node.reads)[code.id])
            return None if found is None or found[1] is code else self.literals(*found)
        return None

    # --- nodes ---

    @remembered
    def touch(self, node: ir.Node) -> Touch:
        """What a node, and all inside it, may do to objects that others hold too."""
        if isinstance(node, ir.Py):
            if node.tied and not isinstance(node.code, ast.AugAssign):
                return Touch.WRITE
            return self._purity(node).touch(node.code)
        if isinstance(node, ir.Gather):
            return max(map(self.touch, node.effects))
        if isinstance(node, ir.Effect):
            return self._effect_touch(node)
        inner = [self.touch(n) for region in node.regions for n in region.nodes]
        return max([*inner, self.steering(node)])

    def steering(self, node: ir.Node) -> Touch:
        """What it does to go through what a loop is over, or to ask whether the test of a branch holds."""
        if isinstance(node, ir.For):
            return iterated(self.kind(node.iterable))
        if isinstance(node, ir.While):
            end = node.test.end
            return inside(self.kind(end.values[0])) if isinstance(end, ir.Yield) and end.values else Touch.WRITE
        return inside(self.kind(node.test)) if isinstance(node, ir.If) else Touch.NONE

    def touches(self, node: ir.Py, code: ast.expr) -> Touch:
        """What evaluating a part of a statement may do to such objects."""
        return self._purity(node).touch(code)

    def looked(self, node: ir.Py, code: ast.expr) -> Touch:
        """What computing with a part of a statement, such as hashing it, may do to such objects."""
        return self._purity(node).looked(code)

    def _effect_touch(self, node: ir.Effect) -> Touch:
        """Effects look at what they are given, and distributions and functions at what they were made of."""
        args = dict(node.args)
        if node.site.kind == "program":
            return Touch.WRITE
        if "function" in args and not self._is_plain_function(args["function"]):
            return Touch.READ
        makers = [value for word, value in node.args if word in ("distribution", "proposal")]
        held = [value for word, value in node.args if word not in ("distribution", "proposal", "function")]
        if node.site.kind == "observe" and self.kind(args["distribution"]) is Kind.TEXTS:
            held.remove(args["value"])  # a text, or it is an error
        if all(self.kind(value) in FIXED for value in held) and all(map(self._is_settled, makers)):
            return Touch.NONE
        return Touch.READ

    def _is_plain_function(self, value: ir.Value) -> bool:
        """Whether it is a function from outside which holds nothing itself."""
        node, code = self.expression(value) or (None, None)
        found = MISSING if node is None or code is None else self.names.resolve(code, dict(node.reads).__contains__)
        return isinstance(found, types.FunctionType) and not found.__closure__

    @remembered
    def _is_settled(self, value: ir.Value) -> bool:
        """Whether a distribution shares nothing that could be changed after it was made."""
        if self.kind(value) is Kind.TEXTS:
            return True
        made = self.constructor(value)
        if made is None:
            return False
        if made.family.removeprefix("helper.") == "flip":
            return True
        purity = self._purity(made.node)
        return all(purity.atom(a) or self.literals(made.node, a) is not None for a in made.call.args)

    @remembered
    def pure(self, node: ir.Node) -> bool:
        """Whether a node only computes: it may be done once more, or not at all, if it can't fail."""
        return isinstance(node, ir.Py) and isinstance(node.code, ast.Assign) and self.touch(node) <= Touch.ITERATE

    @remembered
    def movable(self, node: ir.Node) -> bool:
        """Whether a node may be done earlier, past what does not conflict with it, if it can't fail.

        Besides what is pure, that is what looks at objects of unknown classes, and gives a value that every run can
        hold, since what it goes past may copy the run.
        """
        if self.pure(node):
            return True
        if not isinstance(node, ir.Py) or node.tied or _assigned(node) is None:
            return False
        looks = self._purity(node, lambda value: min(self.kind(value), Kind.KNOWN)).touch(node.code) < Touch.WRITE
        return looks and all(self.kind(value) is not Kind.OTHER for value in node.defines)

    @remembered
    def total(self, node: ir.Node) -> bool:
        """Whether a node, and all inside it, surely can't fail."""
        if isinstance(node, ir.Py):
            code = _assigned(node)
            return code is not None and self._total(node, code)
        if isinstance(node, ir.Gather):
            return all(map(self.total, node.effects))
        if isinstance(node, ir.Effect):
            return self._total_effect(node)
        steered = not isinstance(node, ir.For | ir.While | ir.If) or self._steers_surely(node)
        return steered and all(self.total(inner) for region in node.regions for inner in region.nodes)

    def _steers_surely(self, node: ir.Node) -> bool:
        if isinstance(node, ir.For):
            return self.kind(node.iterable) in (Kind.ATOMS, Kind.BUILTIN) and not node.iterable.maybe_unbound
        end = node.test if isinstance(node, ir.If) else None
        if isinstance(node, ir.While) and isinstance(node.test.end, ir.Yield) and node.test.end.values:
            end = node.test.end.values[0]
        return isinstance(end, ir.Value) and self._surely(end, {*FIXED, Kind.BUILTIN})

    def _surely(self, value: ir.Value, kinds: Collection[Kind]) -> bool:
        """Whether a value is bound, and one of these kinds."""
        return not value.maybe_unbound and self.kind(value) in kinds

    def _total_effect(self, effect: ir.Effect) -> bool:
        """Whether what an effect is given surely is what it can do with: a model's own failures are not meant."""
        args = dict(effect.args)
        if isinstance(effect, ir.Each) or effect.site.dynamic or "proposal" in args:
            return False
        if effect.site.kind == "barrier":
            return True
        if effect.site.kind == "condition":
            return self._surely(args["holds"], {*FIXED, Kind.BUILTIN})
        if effect.site.kind in ("factor", "twist"):
            found = self.expression(args["log_weight"])
            values = None if found is None else self.literals(*found)
            return values is not None and all(isinstance(v, int | float) and math.isfinite(v) for v in values)
        if effect.site.kind == "sample":
            return self._surely(args["distribution"], DRAWN)
        if effect.site.kind == "observe":
            return self._surely(args["value"], ATOMIC) and self._takes(args["distribution"], args["value"])
        return False

    def _takes(self, distribution: ir.Value, value: ir.Value) -> bool:
        """Whether a distribution surely has a density at an atom."""
        if self._surely(distribution, {Kind.TEXTS}):
            return self.kind(value) is Kind.TEXT
        made = self.constructor(distribution)
        finite = made is not None and made.family in ("flip", "categorical", "uniform", "delta")
        return finite and not distribution.maybe_unbound

    def surely_positive(self, effect: ir.Effect) -> bool:
        """Whether an observation surely has mass: as far as the parameters of a coin or the options of a choice tell,
        and a model can write every text that is written out in the program."""
        if isinstance(effect, ir.Each):
            return False
        args = dict(effect.args)
        made = self.constructor(args["distribution"])
        if made is None:
            return False
        if made.family == "flip":
            chances = self.literals(made.node, made.call.args[0]) if made.call.args else None
            return chances is not None and all(isinstance(v, int | float) and 0 < v < 1 for v in chances)
        written = self.callee(made.node, made.call).written
        found = self.expression(args["value"])
        values = None if found is None else self.literals(*found)
        if written is None or values is None or not all(isinstance(v, str) for v in values):
            return False
        return written is ... or set(values) <= set(written)

    def _total(self, node: ir.Py, code: ast.expr) -> bool:
        purity = self._purity(node)
        if isinstance(code, ast.Constant):
            return True
        if isinstance(code, ast.Name):
            value = dict(node.reads).get(code.id)
            return value is not None and not value.maybe_unbound
        if isinstance(code, ast.Compare):
            simple = all(isinstance(op, ast.Is | ast.IsNot | ast.Eq | ast.NotEq) for op in code.ops)
            parts = [code.left, *code.comparators]
            return simple and all(self._total(node, p) and purity.atom(p) for p in parts)
        asked: list[ast.expr] = []  # of which it is asked whether they are true
        parts = []
        if isinstance(code, ast.UnaryOp) and isinstance(code.op, ast.Not):
            asked, parts = [code.operand], [code.operand]
        elif isinstance(code, ast.BoolOp):
            asked, parts = code.values[:-1], code.values
        elif isinstance(code, ast.IfExp):
            asked, parts = [code.test], [code.test, code.body, code.orelse]
        elif isinstance(code, ast.Tuple | ast.List) and not any(isinstance(e, ast.Starred) for e in code.elts):
            return all(self._total(node, part) for part in code.elts)
        if parts:
            known = all(purity.kind(part) in (*FIXED, Kind.BUILTIN) for part in asked)
            return known and all(self._total(node, part) for part in parts)
        return isinstance(code, ast.Call) and self._total_constructor(node, code)

    def _total_constructor(self, node: ir.Py, code: ast.Call) -> bool:
        if self.callee(node, code).family != "flip" or len(code.args) + len(code.keywords) != 1:
            return False
        (p,) = (*code.args, *(k.value for k in code.keywords))
        values = self.literals(node, p)
        tests = [inner.test for inner in ast.walk(p) if isinstance(inner, ast.IfExp)]
        sure = values is not None and all(isinstance(v, int | float) and 0 <= v <= 1 for v in values)
        return sure and all(self._total(node, test) for test in tests)

    # --- control ---

    @remembered
    def leaves(self, node: ir.Node) -> bool:
        """Whether control may leave a node's region from inside it: by ``return``, or out of a loop around it."""
        kinds = (ir.Break, ir.Continue)
        if isinstance(node, ir.Loop):
            out = [end for kind in kinds for end in ir.ends(node.orelse, kind)]
        else:
            out = [end for region in node.regions for kind in kinds for end in ir.ends(region, kind)]
        returns = any(isinstance(inner, ir.Return) for region in node.regions for inner in ir.walk(region))
        return returns or bool(out)


def _assigned(node: ir.Node | None) -> ast.expr | None:
    """The expression of a statement ``name = expression``."""
    if isinstance(node, ir.Py) and isinstance(node.code, ast.Assign) and len(node.code.targets) == 1:
        return node.code.value if isinstance(node.code.targets[0], ast.Name) and len(node.writes) == 1 else None
    return None


def _sum(code: ast.AugAssign) -> ast.expr:
    """What ``x += y`` assigns."""
    assert isinstance(code.target, ast.Name)
    return ast.BinOp(ast.Name(code.target.id, ast.Load()), code.op, code.value)


def _sources(region: ir.Region) -> Iterator[tuple[ir.Value, ir.Node | ir.Value]]:
    """Every value below ``region`` with each thing that it may come from: a node, or another value."""
    for node in ir.walk(region):
        if isinstance(node, ir.Py | ir.Effect | ir.Gather):
            members: Sequence[ir.Node] = node.effects if isinstance(node, ir.Gather) else (node,)
            yield from ((value, member) for member in members for value in member.defines)
        elif isinstance(node, ir.If):
            yield from _from_ends(node.results, node.regions, ir.Yield)
        elif isinstance(node, ir.Loop):
            yield from _loop_sources(node)


def _loop_sources(node: ir.Loop) -> Iterator[tuple[ir.Value, ir.Node | ir.Value]]:
    head = node.test.params if isinstance(node, ir.While) else node.body.params[1:]
    yield from zip(head, node.initial, strict=True)
    yield from _from_ends(head, [node.body], ir.Continue)
    if isinstance(node, ir.While):
        for params in (node.body.params, node.orelse.params):
            yield from zip(params, node.test.end.values[1:], strict=True)
    else:
        yield from zip(node.orelse.params, head, strict=True)
        yield node.body.params[0], node
    yield from _from_ends(node.results, [node.body], ir.Break)
    yield from _from_ends(node.results, [node.orelse], ir.Yield)


def _from_ends(
    targets: Sequence[ir.Value], regions: Sequence[ir.Region], kind: type[ir.Terminator]
) -> Iterator[tuple[ir.Value, ir.Value]]:
    for region in regions:
        for end in ir.ends(region, kind):
            yield from zip(targets, end.values, strict=True)
