"""Syntax tree → IR: effects, their operands and their names."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from . import ir
from .builder import Builder, at
from .names import dotted
from .requests import EffectSpec, Site


class Effects(Builder):
    """Lowers calls that are effects."""

    def sequence(
        self, nodes: Sequence[ast.expr], hints: Sequence[str | None] | None = None, spread: frozenset[int] = frozenset()
    ) -> list[ast.expr]:
        """Operands in order of evaluation, their effects done, earlier ones computed before later effects.

        Args:
            nodes: the operands.
            hints: what effects in them are called.
            spread: the places of the operands that stand after ``**``.
        """
        raise NotImplementedError

    def effect(self, node: ast.Call, hint: str | None, target: str | None) -> ir.Value:
        """Emit the effect that a call stands for; its answer becomes ``target`` or a temporary."""
        spec = self.resolver.effect(node.func)
        if spec is None:
            return self._invoke(node, hint, target)
        given = self._arguments(node, spec)
        name = given.pop("name", None)
        static = hint if spec.has_value and hint else spec.kind
        explicit = False
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            static, explicit = name.value, True
            if not static:
                self.refuse(
                    name, "a name can't be empty: addresses are made of names", "Write a word, or leave it out."
                )
            signs = [sign for sign in "/[]#·" if sign in static]
            if signs:
                without = static.translate(dict.fromkeys(map(ord, signs), "_")).strip("_") or "x"
                self.refuse(
                    name,
                    f"{static!r} can't be a name: addresses are made of names, and {signs[0]!r} has a meaning there",
                    f"Leave it out of the name: name={without!r}.",
                )
            name = None
        elif isinstance(name, ast.Constant):
            self.refuse(name, f"a name is a string, not {name.value!r}", "Write name='word', or leave it out.")
        if name is not None:
            given["name"] = name
            static = ast.unparse(name)
        values = self.sequence(list(given.values()))
        args = tuple((k, self.value(v)) for k, v in zip(given, values, strict=True))
        site = self._site(node, spec.kind, static, explicit, name is not None)
        return self._emit_effect(node, site, args, target)

    def _arguments(self, node: ast.Call, spec: EffectSpec) -> dict[str, ast.expr]:
        """The arguments of an effect by name, in order of evaluation."""
        usage = f"Write {spec.usage}."
        spelled = f"the arguments of {spec.kind}() have to be spelled out: the compiler has to see which is which"
        given: dict[str, ast.expr] = {}
        words = (*spec.required, *(w for w in spec.optional if w != "name"))
        positional = node.args[: len(spec.required)] if spec.variadic else node.args
        for argument in positional:
            if isinstance(argument, ast.Starred):
                self.refuse(argument, spelled, usage)
        if len(positional) > len(words):
            count = f"at most {len(words)} argument{'s' * (len(words) != 1)}" if words else "no arguments"
            self.refuse(node, f"{spec.kind}() takes {count} without a name, and {len(positional)} are given", usage)
        given.update(zip(words, positional, strict=False))
        if spec.variadic:
            given["args"] = ast.copy_location(ast.Tuple(node.args[len(spec.required) :], ast.Load()), node)
        for keyword in node.keywords:
            if keyword.arg is None:
                self.refuse(keyword.value, spelled, usage)
            if keyword.arg not in (*words, "name"):
                known = ", ".join(dict.fromkeys((*words, "name")))
                remedy = f"It takes {known}. {usage}"
                if spec.kind == "sample" and keyword.arg in ("obs", "observed", "value"):
                    remedy = "Data are told by observe(distribution, value)."
                self.refuse(keyword, f"{spec.kind}() takes no argument {keyword.arg!r}", remedy)
            if keyword.arg in given:
                self.refuse(keyword, f"{spec.kind}() is given the argument {keyword.arg!r} twice", usage)
            given[keyword.arg] = keyword.value
        missing = [word for word in spec.required if word not in given]
        if missing:
            self.refuse(node, f"{spec.kind}() needs the argument {missing[0]!r}", usage)
        return given

    def _invoke(self, node: ast.Call, hint: str | None, target: str | None) -> ir.Value:
        """A call of another program, or of something that turns out at run time to be one or not."""
        head = 1 + len(node.args)
        spread = frozenset(head + i for i, k in enumerate(node.keywords) if k.arg is None)
        operands = self.sequence([node.func, *node.args, *(k.value for k in node.keywords)], spread=spread)
        if spread:
            # Not a dictionary display: the same argument twice is an error.
            words = [ast.keyword(k.arg, v) for k, v in zip(node.keywords, operands[head:], strict=True)]
            kwargs: ast.expr = ast.Call(ast.Name("·keywords", ast.Load()), [], words)
        else:
            keys: list[ast.expr | None] = [ast.Constant(k.arg) for k in node.keywords]
            kwargs = ast.Dict(keys, operands[head:])
        values = (
            ("program", self.value(operands[0])),
            ("args", self.temporary(at(ast.Tuple(operands[1:head], ast.Load()), node))),
            ("kwargs", self.temporary(at(kwargs, node))),
        )
        site = self._site(node, "program", hint or _called(node.func), False, False)
        return self._emit_effect(node, site, values, target)

    def _emit_effect(
        self, node: ast.Call, site: Site, args: tuple[tuple[str, ir.Value], ...], target: str | None
    ) -> ir.Value:
        index = tuple(scope.counter for scope in self.loops if scope.counter is not None)
        if site.dynamic:
            index = ()
        result = self.define(target or self.fresh())
        self.emit(ir.Effect(span=self.span(node), site=site, args=args, index=index, result=result))
        return result

    def _site(self, node: ast.Call, kind: str, name: str, explicit: bool, dynamic: bool) -> Site:
        """A site with an address of its own.

        A name that a path may already have used gets an ordinal (``x#2``) if it was not chosen by the user. Sites on
        exclusive branches share a name: they are the same choice, made under different circumstances.
        """
        depth = 0 if dynamic else sum(scope.counter is not None for scope in self.loops)
        if not dynamic:
            reached = self.state.reached
            if explicit and (name, depth) in reached:
                first = next(site for site in self.sites if (site.name, site.depth) == (name, depth))
                self.refuse(
                    node,
                    f"the name {name!r} is taken by the {first.kind} in line {first.span.line}, and each effect needs "
                    "an address of its own",
                    "Give each its own name=, or leave it out.",
                )
            base, ordinal = name, 1
            while (name, depth) in reached:
                ordinal += 1
                name = f"{base}#{ordinal}"
            reached.add((name, depth))
        site = Site(kind, name, depth, self.program_name, self.span(node), dynamic)
        self.sites.append(site)
        return site


def _called(node: ast.expr) -> str:
    """What a site is called where a program is called that ``node`` stands for: ``solve`` for ``solve.given(x=1)``."""
    while isinstance(node, (ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
        if isinstance(node, ast.Attribute) and node.attr in ("given", "do"):
            node = node.value
    return ".".join(dotted(node) or ("program",))
