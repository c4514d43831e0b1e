"""What makes two populations the same: everything that a run can still read, with its aliases, and nothing else.

The exact check goes on only once from populations that are the same (``explore_merged``). So what is left out here must
be without effect: the keys of draws, which only random numbers read; what is left of dead particles; and the common
scale, to which the rest of the run is linear. What can't be compared safely makes a population unlike any other.
"""

from __future__ import annotations

import copyreg
import math
import sys
import types
from collections.abc import Callable
from fractions import Fraction
from hashlib import blake2b
from typing import Any

from .context import Context
from .runtime.distributions import Distribution
from .runtime.engines.base import ModelDistribution
from .runtime.fork import CannotFork, copies
from .runtime.particle import Fixed, Particle, Status
from .runtime.population import Population
from .text import Text

_ATOMS: frozenset[type] = frozenset(
    (int, float, complex, str, bytes, bool, range, slice, Fraction, type(None), type(...), type(NotImplemented))
)
_APART = ("key", "ask", "block", "frame", "trace", "scope", "status", "names")
"""What of a particle is left out or written in another form; what is added to particles later counts as it is."""
_LIVE = tuple(slot for slot in Particle.__slots__ if slot not in _APART)
_DONE = ("value", "log_weight", "log_twist", "log_joint")


class Opaque(Exception):
    """A value may hold what can't be seen, so it can't be compared."""


class States:
    """Tells populations apart, for one exploration.

    Values are compared as :func:`fork` copies them: what particles share, by identity; containers and plain objects by
    their content, each thing that can change being written once, so that aliases count, also those between particles.
    """

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}
        """What was compared by identity. It is kept alive, or its id would be lent out again."""

    def __call__(self, operation: str, population: Population) -> tuple[bytes, float] | None:
        """A population's state without its scale, as a digest, and the logarithm of the scale.

        Returns:
            ``None`` if it holds something that can't be compared, or where it is not worth it: if all have finished, to
            the end it is no step, and after an advance what the particles drew tells the populations apart, unless
            some of them died.
        """
        if not population.running:
            return None
        if operation == "advance" and all(p.status is not Status.DEAD for p in population.particles):
            return None
        scale = population.log_scale if math.isfinite(population.log_scale) else 0.0
        writer = _Writer(self._seen)
        try:
            state = (
                population.log_scale - scale,
                len(population.history),
                *[writer.particle(particle) for particle in population.particles],
            )
            written = repr(state).encode("utf-8", "surrogatepass")
        except (Opaque, RecursionError):
            return None
        # Two states share a digest with probability 2⁻¹²⁸; the states themselves would fill the memory.
        return blake2b(written, digest_size=16).digest(), scale


class _Writer:
    """Writes one population as nested tuples of plain values, whose ``repr`` tells them apart."""

    def __init__(self, seen: dict[int, Any]) -> None:
        self._seen = seen
        self._written: dict[int, int] = {}
        self._held: list[Any] = []
        self._kept: list[Any] = []
        self._storages: dict[int, int] = {}

    def particle(self, particle: Particle) -> Any:
        if particle.status is Status.DEAD:
            return "dead"
        trace = particle.trace.choices() if particle.trace else ()
        choices = [(c.address, self.value(c.value), c.log_prob, c.observed) for c in trace]
        if particle.status is Status.DONE:
            return ("done", choices, [self.value(getattr(particle, slot)) for slot in _DONE])
        frames, frame = [], particle.frame
        while frame is not None:
            frames.append((self._identity(frame.block), self.value(frame.live), self._scope(frame.scope)))
            frame = frame.parent
        return (
            particle.status.name,
            [self.value(getattr(particle, slot)) for slot in _LIVE],
            self._identity(particle.block),  # as for forks, which share it
            self._identity(particle.ask.site) if particle.ask else None,
            self._scope(particle.scope),
            frames,
            choices,
            sorted(particle.names),
        )

    def _scope(self, scope: Any) -> Any:
        fixed: dict[str, Fixed] = scope.fixed or {}
        return scope.prefix, [(address, self.value(f.value), f.observed) for address, f in fixed.items()]

    def value(self, value: Any) -> Any:
        """One value.

        Raises:
            Opaque: it can't be compared.
        """
        kind = type(value)
        if kind in _ATOMS:
            return value
        if kind is tuple:
            return ("tuple", [self.value(item) for item in value])
        if kind is Text:
            return ("text", str(value), value.tokens, value.finish, self._identity(value.lm))
        if kind is Context:
            return ("context", self._identity(value.lm), value.tokens)
        handler = _CHANGING.get(kind)
        if handler is None:
            return self._other(value)
        return self._again(value) or (kind.__name__, handler(self, value))

    def _again(self, value: Any) -> Any:
        """Where a thing was written, if it was; else it counts as written from now on."""
        before = self._written.setdefault(id(value), len(self._written))
        if before < len(self._held):
            return ("again", before)
        self._held.append(value)  # what is freed would lend out its id
        return None

    def _identity(self, value: Any) -> Any:
        self._seen[id(value)] = value
        return ("the", id(value))

    def _function(self, value: types.FunctionType) -> Any:
        if not value.__closure__ and not value.__defaults__ and not value.__kwdefaults__:
            return self._identity(value)
        cells = [self.value(cell) for cell in value.__closure__ or ()]
        parts = [self._identity(value.__code__), self._identity(value.__globals__)]
        return ("function", parts, self.value(value.__defaults__), self.value(value.__kwdefaults__), cells)

    def _other(self, value: Any) -> Any:
        if isinstance(value, (type, types.ModuleType, types.CodeType)):
            return self._identity(value)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, (Distribution, ModelDistribution)) and hasattr(value, "__dict__"):
            return ("distribution", self._identity(type(value)), self.value(vars(value)))
        try:
            shared = copies((value,))[0] is value
        except CannotFork as error:
            raise Opaque from error
        return self._identity(value) if shared else self._object(value)

    def _tensor(self, value: Any) -> Any:
        """Forks copy tensors one by one, so it matters not what others a tensor shares its storage with, if none do."""
        again = self._again(value)
        if again:
            return again
        storage = value.untyped_storage()
        whole = storage.nbytes() == value.numel() * value.element_size()
        if value.requires_grad or value.is_sparse or value.device.type != "cpu" or not whole:
            raise Opaque
        if self._storages.setdefault(storage.data_ptr(), id(value)) != id(value):
            raise Opaque
        content = value.contiguous().view(-1).tolist()
        return ("tensor", self._identity(type(value)), str(value.dtype), tuple(value.shape), value.stride(), content)

    def _object(self, value: Any) -> Any:
        """A plain object, by what pickling would keep of it."""
        again = self._again(value)
        if again:
            return again
        if type(value).__reduce_ex__ is not object.__reduce_ex__ or hasattr(value, "__deepcopy__"):
            raise Opaque
        reducer = copyreg.dispatch_table.get(type(value))
        try:
            reduced = value.__reduce_ex__(4) if reducer is None else reducer(value)
        except (TypeError, AttributeError) as error:
            raise Opaque from error
        if isinstance(reduced, str):
            raise Opaque
        self._kept.append(reduced)
        parts = dict(enumerate(reduced[:5]))  # what makes it, of what, its state, its items and its pairs
        return (
            "object",
            self._identity(parts[0]),
            [self.value(parts.get(i)) for i in (1, 2)],
            [self.value(item) for item in parts.get(3) or ()],
            [(self.value(key), self.value(item)) for key, item in parts.get(4) or ()],
        )


def _cell(writer: _Writer, cell: types.CellType) -> Any:
    try:
        return writer.value(cell.cell_contents)
    except ValueError:
        return "empty"


_CHANGING: dict[type, Callable[[_Writer, Any], Any]] = {
    list: lambda writer, value: [writer.value(item) for item in value],
    dict: lambda writer, value: [(writer.value(key), writer.value(item)) for key, item in value.items()],
    # In the order in which the program would meet them.
    set: lambda writer, value: [writer.value(item) for item in value],
    frozenset: lambda writer, value: [writer.value(item) for item in value],
    bytearray: lambda writer, value: bytes(value),
    types.CellType: _cell,
    types.FunctionType: _Writer._function,
    types.MethodType: lambda writer, value: (writer.value(value.__func__), writer.value(value.__self__)),
}
"""What can change, or hold what can."""
