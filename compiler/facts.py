"""What passes know of a program: who defines and uses a value, what its Python touches, which distribution it makes.

Everything is conservative. What can't be resolved touches everything, may fail, and makes no known distribution.
"""

from __future__ import annotations

import ast
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from . import ir
from .liveness import Liveness, analyse
from .names import Names
from .purity import Callee, Purity, Touch

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
    def atoms(self) -> frozenset[ir.Value]:
        """The values that surely are numbers, strings, truth values or ``None``: nobody can change them.

        The largest set such that every member comes from members alone.
        """
        sources = list(_sources(self.program.body))
        found = {value for value, _ in sources}
        leaning: dict[ir.Value, list[tuple[ir.Value, ir.Node | ir.Value]]] = {}
        for value, source in sources:
            for used in (source,) if isinstance(source, ir.Value) else source.uses:
                leaning.setdefault(used, []).append((value, source))
        while sources:
            gone = {value for value, source in sources if value in found and not self._is_atom(value, source, found)}
            found -= gone
            sources = [pair for value in gone for pair in leaning.get(value, ())]
        return frozenset(found)

    def _is_atom(self, value: ir.Value, source: ir.Node | ir.Value, atoms: set[ir.Value]) -> bool:
        if isinstance(source, ir.Value):
            return source in atoms or source is ir.UNDEFINED
        if isinstance(source, ir.For):  # the item
            made = self.definer.get(source.iterable)
            call = _assigned(made)
            return isinstance(call, ast.Call) and self._resolves(made, call.func, range)
        if isinstance(source, ir.Py):
            code = _assigned(source)
            aug = source.code if isinstance(source.code, ast.AugAssign) else None
            if aug is not None and isinstance(aug.target, ast.Name):
                code = ast.BinOp(ast.Name(aug.target.id, ast.Load()), aug.op, aug.value)
            return code is not None and self._purity(source, atoms).atom(code)
        if isinstance(source, ir.Effect) and not isinstance(source, ir.Each) and source.site.kind == "sample":
            dist = self.constructor(dict(source.args)["distribution"])
            return dist is not None and (dist.family == "flip" or not dist.local or self._atomic_outcomes(dist))
        return False

    def _atomic_outcomes(self, made: Constructor) -> bool:
        """Whether ``categorical`` or ``uniform`` chooses among outcomes that are written out, or numbers."""
        listed = made.argument(0, "weights" if made.family == "categorical" else "outcomes")
        if made.family == "categorical":
            keys = listed.keys if isinstance(listed, ast.Dict) else []
            return isinstance(listed, ast.List) or (bool(keys) and all(isinstance(k, ast.Constant) for k in keys))
        elements = listed.elts if isinstance(listed, ast.List | ast.Tuple) else []
        return made.family == "uniform" and bool(elements) and all(isinstance(e, ast.Constant) for e in elements)

    def _resolves(self, node: ir.Node | None, code: ast.expr, what: Any) -> bool:
        return isinstance(node, ir.Py) and self.names.resolve(code, dict(node.reads).__contains__) is what

    def _purity(self, node: ir.Py, atoms: set[ir.Value] | frozenset[ir.Value] | None = None) -> Purity:
        reads, writes = dict(node.reads), dict(node.writes)
        known = self.atoms if atoms is None else atoms
        return Purity(
            self.names,
            lambda name: name in reads or name in writes or (name.startswith("·") and name[1:].isdigit()),
            lambda name: name in reads and reads[name] in known,
        )

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
        # Which function is called does not depend on which values are atoms; asking for those here would go round.
        return self._purity(node, frozenset()).callee(call)

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
        return max([*inner, Touch.ITERATE if isinstance(node, ir.For) else Touch.NONE])

    def touches(self, node: ir.Py, code: ast.expr) -> Touch:
        """What evaluating a part of a statement may do to such objects."""
        return self._purity(node).touch(code)

    def _effect_touch(self, node: ir.Effect) -> Touch:
        kind = node.site.kind
        if kind == "program":
            return Touch.WRITE
        held = [value for word, value in node.args if word not in ("distribution", "proposal", "function")]
        if all(self._unchanging(value) for value in held):
            makers = [value for word, value in node.args if word in ("distribution", "proposal")]
            return Touch.NONE if all(map(self._is_settled, makers)) else Touch.READ
        return Touch.READ

    @remembered
    def _unchanging(self, value: ir.Value) -> bool:
        """An atom, or a tuple of atoms."""
        if value in self.atoms:
            return True
        found = self.expression(value)
        if found is None or not isinstance(found[1], ast.Tuple):
            return False
        purity = self._purity(found[0])
        return all(purity.atom(element) for element in found[1].elts)

    @remembered
    def _is_settled(self, value: ir.Value) -> bool:
        """Whether a distribution shares nothing that could be changed after it was made."""
        made = self.constructor(value)
        if made is None:
            return False
        if made.family.removeprefix("helper.").startswith(("model.", "flip")):
            return True
        purity = self._purity(made.node)
        return all(purity.atom(a) or self.literals(made.node, a) is not None for a in made.call.args)

    @remembered
    def movable(self, node: ir.Node) -> bool:
        """Whether a node only computes: it may be done earlier, once more, or not at all, if it can't fail."""
        return isinstance(node, ir.Py) and isinstance(node.code, ast.Assign) and self.touch(node) <= Touch.ITERATE

    @remembered
    def total(self, node: ir.Node) -> bool:
        """Whether a statement surely can't fail."""
        code = _assigned(node)
        return code is not None and isinstance(node, ir.Py) and self._total(node, code)

    def _total(self, node: ir.Py, code: ast.expr) -> bool:
        if isinstance(code, ast.Constant):
            return True
        if isinstance(code, ast.Name):
            value = dict(node.reads).get(code.id)
            return value is not None and not value.maybe_unbound
        if isinstance(code, ast.Compare):
            simple = all(isinstance(op, ast.Is | ast.IsNot | ast.Eq | ast.NotEq) for op in code.ops)
            parts = [code.left, *code.comparators]
            return simple and all(self._total(node, p) and self._purity(node).atom(p) for p in parts)
        if isinstance(code, ast.UnaryOp):
            return isinstance(code.op, ast.Not) and self._total(node, code.operand)
        if isinstance(code, ast.BoolOp):
            return all(self._total(node, part) for part in code.values)
        if isinstance(code, ast.IfExp):
            return all(self._total(node, part) for part in (code.test, code.body, code.orelse))
        if isinstance(code, ast.Tuple | ast.List) and not any(isinstance(e, ast.Starred) for e in code.elts):
            return all(self._total(node, part) for part in code.elts)
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
