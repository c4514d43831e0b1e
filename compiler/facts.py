"""What passes know of a program: who defines and uses a value, what its Python touches, which distribution it makes.

Everything is conservative. What can't be resolved touches everything, may fail, and makes no known distribution.
"""

from __future__ import annotations

import ast
import functools
import types
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from . import ir
from .contents import holds_plainly
from .kinds import ATOMIC, DRAWN, FIXED, Kind, Touch, inside, iterated, join, member
from .liveness import Liveness, analyse
from .names import Names
from .origins import sources_of
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
            return holds_plainly(self.purity(node, lambda value: kinds.get(value, Kind.OTHER)), node.code)
        if isinstance(node, ir.Effect) and node.site.kind == "program":  # which may change what it is given
            return all(self._is_handed_fixed(value, kinds) for word, value in node.args if word != "program")
        return True

    def _is_handed_fixed(self, value: ir.Value, kinds: dict[ir.Value, Kind]) -> bool:
        if kinds.get(value) in FIXED:
            return True
        node, code = self.expression(value) or (None, None)
        if node is None or not isinstance(code, ast.Tuple | ast.Dict):
            return False
        purity = self.purity(node, lambda value: kinds.get(value, Kind.OTHER))
        parts = code.elts if isinstance(code, ast.Tuple) else [*filter(None, code.keys), *code.values]
        return all(purity.kind(part) in FIXED for part in parts)

    def _kinds(self) -> dict[ir.Value, Kind]:
        """The least fixed point: what a value is, it is whatever it comes from."""
        sources = list(sources_of(self.program.body))
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
        purity, code = self.purity(node, kind), node.code
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

    def purity(self, node: ir.Py, kind: Callable[[ir.Value], Kind] | None = None) -> Purity:
        """What judges the Python of a statement, where values are what ``kind`` says."""
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
        code = assigned(node)
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
        return self.purity(node).callee(call)

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
            return self.purity(node).touch(node.code)
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
        return self.purity(node).touch(code)

    def looked(self, node: ir.Py, code: ast.expr) -> Touch:
        """What computing with a part of a statement, such as hashing it, may do to such objects."""
        return self.purity(node).looked(code)

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
        purity = self.purity(made.node)
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
        if not isinstance(node, ir.Py) or node.tied or assigned(node) is None:
            return False
        looks = self.purity(node, lambda value: min(self.kind(value), Kind.KNOWN)).touch(node.code) < Touch.WRITE
        return looks and all(self.kind(value) is not Kind.OTHER for value in node.defines)

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


def assigned(node: ir.Node | None) -> ast.expr | None:
    """The expression of a statement ``name = expression``."""
    if isinstance(node, ir.Py) and isinstance(node.code, ast.Assign) and len(node.code.targets) == 1:
        return node.code.value if isinstance(node.code.targets[0], ast.Name) and len(node.writes) == 1 else None
    return None


def _sum(code: ast.AugAssign) -> ast.expr:
    """What ``x += y`` assigns."""
    assert isinstance(code.target, ast.Name)
    return ast.BinOp(ast.Name(code.target.id, ast.Load()), code.op, code.value)
