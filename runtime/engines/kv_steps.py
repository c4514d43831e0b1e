"""Decode steps: one token for each of many rows, again and again, without a word to the host in between.

A step takes its rows from tensors that stay where they are, and leaves there what the next step needs: the token that
was drawn, its position, whether the text goes on. So on a GPU it is captured once as a CUDA graph, and a replay spares
the host from launching hundreds of kernels; several steps are taken in a row, and their tokens fetched together.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any
from weakref import ref

import numpy as np
import torch
from torch import Tensor

from .kv_cache import Group, SlotCache, Step
from .kv_lanes import Lanes, Shape
from .kv_plan import Batch, Row, places_of
from .laws import NextTokens
from .requests import Law

_KINDS = 8
"""How many ways for texts to stop are kept on the device, unless more are needed at once."""
_GRAPHS = 32
"""How many captured steps to keep."""
_SEEN = 1024
"""Of how many shapes to know that they came up before."""
_FAILURES = 3
"""After so many shapes that can't be captured no more are tried."""
_LANES = 16
"""For how many numbers of rows to keep tensors."""
_ROOM = 64
"""What is read of slots grows in steps of so many positions, so that few shapes come up."""
_FEWEST, _COSTLY = 8, 256
"""The least that rows are padded to, since fewer take as long; and from where on more take longer."""
_LONG = 256
"""Positions of a stem from which it may be read in segments."""
_IDLE, _FAULTY = -1, -2
"""In place of a token: the row had stopped before; its logits were no numbers."""


class Steps:
    """Takes decode steps.

    Args:
        forward: puts a batch through the model.
        cache: where its keys and values are.
        device: where the model is.
        vocab_size: the number of token ids.
        ahead: the most steps in a row.
        bos: the token of the root, if it has one.
        ragged: whether ``forward`` can let each row read as many positions as it has.
        capture: whether to replay steps as CUDA graphs.

    Attributes:
        ragged, capture: as given; the latter until it turns out not to work.
        problem: why it did not, or "".
    """

    def __init__(
        self,
        forward: Callable[[Batch], Tensor],
        cache: SlotCache,
        device: torch.device,
        vocab_size: int,
        ahead: int,
        *,
        bos: int | None,
        ragged: bool,
        capture: bool,
    ) -> None:
        self._forward = forward
        self._cache = cache
        self._device = device
        self._ahead = ahead
        self._bos = bos
        self.ragged = ragged
        self.capture = capture
        self.problem = ""
        self._halts = torch.zeros(_KINDS, vocab_size, dtype=torch.bool, device=device)
        self._kinds: dict[int, tuple[int, np.ndarray]] = {}
        self._lanes: OrderedDict[int, Lanes] = OrderedDict()
        self._seen: set[Shape] = set()
        self._failed: set[Shape] = set()
        self._graphs: OrderedDict[Shape, Any] = OrderedDict()
        self._pool: Any = None
        self._stream: Any = None
        self._stores: tuple[ref[Tensor] | None, ...] | None = None

    def logits(self, rows: Sequence[Row]) -> Tensor:
        """One step of placed rows of one token each: logits [rows, vocabulary], overwritten by the next step."""
        shape, lanes = self._load(rows, None, [1] * len(rows), [0] * len(rows))
        self._step(shape, lanes)
        assert lanes.out is not None
        return lanes.out[: len(rows)]

    def write(
        self, rows: Sequence[Row], law: Law, points: np.ndarray, limits: Sequence[int], halts: Sequence[np.ndarray]
    ) -> list[tuple[list[int], list[float]]]:
        """Draw tokens for placed rows of one token each.

        Args:
            rows: in the order of their slots, which have room for as many positions more as tokens are drawn.
            law: of the tokens.
            points: a uniform number for each token, float64 [steps, rows].
            limits: the most tokens for each row.
            halts: for each, the tokens after which it stops, bool [vocabulary].

        Returns:
            For each row its tokens and their log-probabilities; none where the logits were no numbers.
        """
        steps = min(max(limits), self._ahead)
        shape, lanes = self._load(rows, law, limits, self._kinds_of(halts))
        lanes.points[:steps, : len(rows)] = torch.from_numpy(np.ascontiguousarray(points[:steps])).to(self._device)
        for _ in range(steps):
            self._step(shape, lanes)
        # Token ids are exact as floating-point numbers: both come in one transfer, each row's side by side.
        both = torch.stack((lanes.drawn[:steps].double(), lanes.found[:steps])).transpose(1, 2).cpu()
        tokens, log_probs = both[0].long().tolist(), both[1].tolist()
        ends = (both[0] >= 0).sum(1).tolist()
        return [(tokens[i][: ends[i]], log_probs[i][: ends[i]]) for i in range(len(rows))]

    def clear(self) -> None:
        """Give up all tensors and graphs."""
        self._forget_graphs()
        self._lanes.clear()

    def _forget_graphs(self) -> None:
        self._graphs.clear()
        self._seen.clear()

    # --- before the steps -------------------------------------------------------------------------------------------

    def _load(
        self, rows: Sequence[Row], law: Law | None, limits: Sequence[int], kinds: Sequence[int]
    ) -> tuple[Shape, Lanes]:
        steps = 1 if law is None else min(max(limits), self._ahead)
        slots, shifts, groups = places_of(rows)
        starts = [row.start for row in rows]
        n, nodes = len(rows), [row.nodes for row in rows]
        total = _padded(n) if self.capture and self.ragged else n
        lanes = self._lanes_of(total)
        # Padding repeats the last row: it writes what that writes.
        tokens = [node.token if node.parent is not None or self._bos is None else self._bos for (node,) in nodes]
        ints = [[*some, *[some[-1]] * (total - n)] for some in (slots, shifts, tokens, starts, [*limits], [*kinds])]
        lanes.load(ints, n)
        shifted = any(shifts)
        if self.ragged:
            segments, padded = 0, 0
            if groups:
                segments = _segments(total, max(length for _, length in groups))
                padded = 1 << (len(groups) - 1).bit_length()
                begins = {(self._cache.stems.at[stem].start, length): rows for (stem, length), rows in groups.items()}
                lanes.share(begins, segments, padded, n)
            return Shape(total, law, None, 0, (), segments, padded, shifted, 0, True), lanes
        used = max(start - shift for start, shift in zip(starts, shifts, strict=True)) + steps
        shape = Shape(
            total,
            law,
            slots[0] if slots == list(range(slots[0], slots[0] + n)) else None,
            min(self._cache.capacity, -(-used // _ROOM) * _ROOM),
            tuple((*stem, None if len(members) == n else tuple(members)) for stem, members in groups.items()),
            0,
            0,
            shifted,
            -(-(max(starts) + steps) // _ROOM) * _ROOM,
            False,
        )
        return shape, lanes

    def _lanes_of(self, rows: int) -> Lanes:
        """The tensors of so many rows; those that were not used for longest go, and the graphs that work on them."""
        lanes = self._lanes.get(rows)
        if lanes is None:
            lanes = self._lanes[rows] = Lanes(rows, self._ahead, self._device)
            if len(self._lanes) > _LANES:
                gone, _ = self._lanes.popitem(last=False)
                self._seen = {shape for shape in self._seen if shape.rows != gone}
                for shape in [shape for shape in self._graphs if shape.rows == gone]:
                    del self._graphs[shape]
        self._lanes.move_to_end(rows)
        return lanes

    def _kinds_of(self, halts: Sequence[np.ndarray]) -> list[int]:
        """Where the device has the tokens after which each row stops."""
        distinct = {id(some): some for some in halts}
        if any(name not in self._kinds for name in distinct):
            if len(distinct.keys() | self._kinds.keys()) > len(self._halts):
                self._kinds.clear()
            if len(distinct) > len(self._halts):
                self.clear()  # graphs read the old table
                self._halts = self._halts.new_zeros(1 << (len(distinct) - 1).bit_length(), self._halts.shape[1])
            for name, some in distinct.items():
                if name not in self._kinds:
                    place = len(self._kinds)
                    self._kinds[name] = place, some  # held, so that its name stays its own
                    self._halts[place] = torch.from_numpy(some).to(self._device)
        return [self._kinds[id(some)][0] for some in halts]

    # --- a step -----------------------------------------------------------------------------------------------------

    def _step(self, shape: Shape, lanes: Lanes) -> None:
        """Take a step: as a graph, if one of this shape was taken before."""
        # Stems of some rows would be of this step only; to find a nucleus means to wait for the device.
        whole = shape.law is None or shape.law[1] == 1.0
        if not (self.capture and whole) or any(members is not None for *_, members in shape.stems):
            self._take(shape, lanes)
            return
        self._look_for_stores()
        graph = self._graphs.get(shape)
        if graph is not None:
            self._graphs.move_to_end(shape)
        elif shape in self._seen and shape not in self._failed:
            graph = self._captured(shape, lanes)
        if graph is None:
            self._take(shape, lanes)
            if len(self._seen) >= _SEEN:
                self._seen.clear()
            self._seen.add(shape)
        else:
            graph.replay()

    def _look_for_stores(self) -> None:
        """Forget all graphs where slots or stems lie elsewhere now, or are gone."""
        first = self._cache.slot_layers[0]
        stores = (first.keys, first.stem_keys)
        if self._stores is None or not all(map(_is_still, self._stores, stores)):
            self._forget_graphs()
            self._stores = tuple(None if store is None else ref(store) for store in stores)

    def _captured(self, shape: Shape, lanes: Lanes) -> Any:
        """The graph of a step, which is not taken; ``None`` if that can't be."""
        graph = torch.cuda.CUDAGraph()
        try:
            torch.cuda.synchronize(self._device)
            if not self._graphs:  # a pool goes with the last graph that has memory of it
                self._pool = torch.cuda.graph_pool_handle()
            self._stream = self._stream or torch.cuda.Stream(self._device)  # torch's own is of one device
            # A capture that fails may leave the thread on its stream: entered here, it is left here.
            with (
                torch.cuda.device(self._device),
                torch.cuda.stream(self._stream),
                torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"),
            ):
                self._take(shape, lanes)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.problem = str(error).partition("\n")[0]
            self._failed.add(shape)
            if len(self._failed) > _FAILURES:
                self.capture = False
                self.clear()
            return None
        self._graphs[shape] = graph
        if len(self._graphs) > _GRAPHS:
            self._graphs.popitem(last=False)
        return graph

    def _take(self, shape: Shape, lanes: Lanes) -> None:
        inside = lanes.positions - lanes.shifts if shape.shifted else lanes.positions
        step = Step(
            lanes.slots,
            shape.first,
            shape.used,
            lanes.slots,
            inside,
            None,
            [
                Group(stem, length, None if rows is None else torch.tensor(rows, device=self._device))
                for stem, length, rows in shape.stems
            ],
            None,
            shape.ragged,
            lanes.shared[shape.segments, shape.groups] if shape.groups else None,
        )
        tokens, positions = lanes.tokens[:, None], lanes.positions[:, None]
        shifts = lanes.shifts if shape.shifted else None
        out = self._forward(Batch(tokens, positions, shifts, step, None, [], 0, shape.longest, False))
        if shape.law is not None:
            self._draw(shape.law, lanes, out)
        elif lanes.out is None:
            lanes.out = out.clone()  # where captured steps of any shape leave theirs
        else:
            lanes.out.copy_(out)

    def _draw(self, law: Law, lanes: Lanes, out: Tensor) -> None:
        """Draw a token for each row, and get ready for the next step."""
        laws = NextTokens(out.float() if out.dtype == torch.float64 else out, law)
        token = laws.at(lanes.places, lanes.points.index_select(0, lanes.count)[0])
        token = torch.as_tensor(token)
        log_prob = torch.as_tensor(laws.log_probs(lanes.places, token))
        good = torch.as_tensor(laws.sound)
        told = torch.where(lanes.going, torch.where(good, token, _FAULTY), _IDLE)
        lanes.drawn.index_copy_(0, lanes.count, told[None])
        lanes.found.index_copy_(0, lanes.count, log_prob[None])
        lanes.count += 1
        lanes.left -= 1
        # A row that has stopped computes its last token again and again, where it is.
        lanes.going &= good & (lanes.left > 0) & ~self._halts[lanes.kinds, token]
        lanes.tokens.copy_(torch.where(lanes.going, token, lanes.tokens))
        lanes.positions += lanes.going


def _is_still(known: ref[Tensor] | None, store: Tensor | None) -> bool:
    """Whether a tensor is the one that was known; one that is gone is no other, nor none."""
    return store is None if known is None else store is not None and known() is store


def _padded(rows: int) -> int:
    """The next of few numbers: powers of two, and half way between where rows cost arithmetic."""
    power = max(_FEWEST, 1 << (rows - 1).bit_length())
    return power * 3 // 4 if rows <= power * 3 // 4 and power >= _COSTLY else power


def _segments(rows: int, length: int) -> int:
    """In how many segments to read stems, so that few rows of a long one keep a device busy."""
    most = 8 if rows <= 64 else 4 if rows <= 256 else 2
    return min(most, 1 << (-(-length // _LONG) - 1).bit_length())
