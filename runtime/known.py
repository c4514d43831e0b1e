"""Which of torch's and pyro's distributions are of a family that plain floats are quicker for (``families.py``).

Only those whose class is torch's or pyro's own: a user's subclass may draw in its own way. Large batches, and
parameters outside their domain, are left to torch as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from .families import FAMILIES, Family, Uniforms

LARGEST = 32
"""Distributions over more numbers than this are torch's."""

_FLOATS = (torch.float32, torch.float64)
_HOMES = ("torch.distributions", "pyro.distributions.torch")
_names: dict[type, str] = {}


def name(distribution: Any) -> str:
    """What torch calls its class; empty if that is not torch's or pyro's own."""
    kind = type(distribution)
    found = _names.get(kind)
    if found is None:
        found = _names[kind] = kind.__name__ if kind.__module__.startswith(_HOMES) else ""
    return found


class Known:
    """A distribution of a known family, or independent copies of one.

    Args:
        name: what torch calls it.
        family: the family.
        parameters: those of each copy.
        like: a tensor with the type and the device of its values.
        shape: of its values.
    """

    __slots__ = ("family", "like", "name", "parameters", "shape")

    def __init__(
        self, name: str, family: Family, parameters: Sequence[tuple[Any, ...]], like: torch.Tensor, shape: torch.Size
    ) -> None:
        self.name, self.family, self.parameters, self.like, self.shape = name, family, parameters, like, shape

    def draw(self, uniforms: Uniforms) -> torch.Tensor:
        """A value, by numbers read from ``uniforms`` one after the other."""
        family, dtype, device = self.family, self.like.dtype, self.like.device
        drawn = [family.draw(uniforms, *each) for each in self.parameters]
        if self.shape:
            value = torch.tensor(drawn[0] if family.vector else drawn, dtype=dtype, device=device).reshape(self.shape)
        else:
            value = torch.scalar_tensor(drawn[0], dtype=dtype, device=device)
        if family.positive:
            value.clamp_(torch.finfo(dtype).tiny)
        if family.below is not None:
            tops = [family.below(*each) for each in self.parameters]
            if any(x >= top for x, top in zip(_flat(value), tops, strict=True)):
                top = torch.tensor(tops, dtype=dtype, device=device).reshape(self.shape)
                value = torch.minimum(value, torch.nextafter(top, top.new_full((), -math.inf)))
        return value

    def log_prob(self, value: Any) -> float | None:
        """Its log-density in float64; ``None``: the value is not simply of its shape, ask torch."""
        kind = type(value)
        if kind is float or kind is int or kind is bool:
            if self.shape:
                return None
            numbers = [float(value)]
        else:
            if getattr(value, "shape", None) != self.shape or not isinstance(value, type(self.like)):
                return None
            numbers = _flat(value)
        if not all(map(math.isfinite, numbers)):
            return -math.inf
        family = self.family
        try:
            if len(numbers) == 1 and not family.vector:
                return family.log_prob(numbers[0], *self.parameters[0])
            if family.vector:
                return family.log_prob(numbers, *self.parameters[0])
            return sum([family.log_prob(x, *each) for x, each in zip(numbers, self.parameters, strict=True)])
        except OverflowError:
            return None


def _flat(tensor: torch.Tensor) -> list[float]:
    return tensor.reshape(-1).tolist() if tensor.ndim else [tensor.item()]


def known(distribution: Any) -> Known | None:
    """``distribution`` as one that is drawn from and scored here, or ``None`` for one that is left to torch."""
    kind = name(distribution)
    if kind == "Independent":  # values and densities are taken together in any case
        distribution = distribution.base_dist
        kind = name(distribution)
    family = FAMILIES.get(kind)
    if family is None:
        return None
    batch = distribution.batch_shape
    tensors = [getattr(distribution, parameter) for parameter in family.parameters]
    like = tensors[0]
    dtype = like.dtype
    if dtype not in _FLOATS or any([t.dtype is not dtype for t in tensors]):  # noqa: C419 - a list is quicker
        return None
    if family.vector:
        event = distribution.event_shape
        if batch or event.numel() > LARGEST or not all(bool(t.isfinite().all()) for t in tensors):
            return None
        vectors = tuple([t.tolist() for t in tensors])
        return Known(kind, family, [vectors], like, event) if family.valid(*vectors) else None
    if batch:
        if not 0 < batch.numel() <= LARGEST:
            return None
        parameters = list(zip(*[_flat(t.expand(batch)) for t in tensors], strict=True))
    else:
        parameters = [tuple([t.item() for t in tensors])]
    for each in parameters:
        if not (math.isfinite(sum(each)) and family.valid(*each)):
            return None
    return Known(kind, family, parameters, like, batch)


def finite(distribution: Any) -> tuple[torch.Tensor, list[float]] | None:
    """The outcomes 0, 1, ... of a single Bernoulli or Categorical variable, and their log-probabilities in float64.

    ``None`` for what is none, or has parameters outside their domain.
    """
    kind = name(distribution)
    if kind not in ("Bernoulli", "Categorical") or distribution.batch_shape:
        return None
    if kind == "Categorical":
        logits = distribution.logits
        if logits.numel() > LARGEST:
            return torch.arange(logits.numel(), device=logits.device), logits.double().log_softmax(0).tolist()
        values, log_probs = torch.arange(logits.numel(), device=logits.device), logits.tolist()
    else:
        parameter = distribution.__dict__.get("probs")
        if parameter is not None:
            least = torch.finfo(parameter.dtype).eps  # torch lets no outcome be impossible
            p = min(max(parameter.item(), least), 1.0 - least)
            log_probs = [math.log1p(-p), math.log(p)]
        else:
            parameter = distribution.logits
            log_probs = [0.0, parameter.item()]
        values = torch.arange(2, dtype=parameter.dtype, device=parameter.device)
    top = max(log_probs)
    if not math.isfinite(top):
        return None
    log_mass = top + math.log(math.fsum([math.exp(w - top) for w in log_probs]))
    return values, [w - log_mass for w in log_probs]
