"""Any causal language model of the ``transformers`` library as a :class:`LogitModel`, with every prefix computed once.

Keys and values live in slots (``kv_slots``, ``kv_cache``): a path that goes on extends its slot in place, a fork
copies one. Which rows to compute, and in which batches, is planned per call (``kv_plan``). A pass goes through the
model's own modules (``kv_modules``), or, where their kind is known, through a shorter way (``kv_decoder``).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from . import kv_modules
from .kv_cache import SlotCache
from .kv_decoder import Decoder, why_not
from .kv_logits import RecentLogits, gather
from .kv_masks import kinds_of
from .kv_modules import Modules
from .kv_slots import Slots
from .kv_slotted import SlottedModel
from .kv_stems import WORTH
from .kv_steps import Steps
from .kv_swift import why_not as why_not_swift
from .kv_text import Tokens
from .kv_trial import POSITIONS, sees_ahead, why_wrong
from .model import CacheInfo, ContextError, Usage
from .prefix import Prefix

DEFAULT_CACHE_BYTES = 2 << 30
"""Key-value memory on a CPU; on a GPU, half of what is free when the model is loaded."""

_REPEATS = 3
"""How many steps more to try where steps are captured: the first as they are, the others as graphs."""


class TransformersModel(SlottedModel):
    """A ``transformers`` causal language model.

    One instance serves one thread at a time. Whoever changes the model's weights calls :meth:`clear_cache` afterwards.

    Attributes:
        model: the ``transformers`` model, in evaluation mode.
        tokenizer: its tokenizer, or ``None`` for a model used by token ids only.
        bos: the id that implicitly precedes every path, ``root`` included, or ``None``.
        max_length: the most tokens a path may have, BOS included, or ``None`` if unlimited.
        max_batch: the most rows of a forward pass; halved when memory runs out.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        bos: int | None = None,
        cache_bytes: int | None = None,
        logits_bytes: int = 64 << 20,
        max_batch: int | None = None,
        ahead: int | None = None,
        own: bool = False,
    ) -> None:
        """Wrap a loaded model.

        Args:
            model: a causal language model; it is put in evaluation mode, its weights are not changed.
            tokenizer: its tokenizer; optional if nothing is encoded or decoded.
            bos: the id that precedes every path; by default the one that ``tokenizer`` puts before every text.
            cache_bytes: memory for cached keys and values; by default half of a GPU's free memory, 2 GiB elsewhere.
            logits_bytes: memory for recently computed logits.
            max_batch: the most rows of a forward pass; by default 1024 on a GPU, 256 elsewhere.
            ahead: how many tokens to draw for each text without looking, where texts may go on; by default 8 on a GPU,
                where looking means to wait, and 1 elsewhere. No law depends on it.
            own: whether nobody else uses ``model``. The fastest way of computing joins weights: in copies, where the
                layers take up to 1 GiB; those of larger models only if they may be joined where they are.
        """
        self.model = model.eval()
        if model.config._attn_implementation not in ("eager", "sdpa"):
            # Other kernels take no mask for ragged rows.
            model.set_attn_implementation("sdpa")
        self.tokenizer = tokenizer
        self._tokens = None if tokenizer is None else Tokens(tokenizer)
        self.bos = bos if bos is not None or self._tokens is None else self._tokens.bos
        self._config = model.config.get_text_config(decoder=True)
        self.max_length = _max_length(self._config)
        self.size = sum(parameter.numel() for parameter in model.parameters())
        self._device: torch.device = model.get_input_embeddings().weight.device
        self._dtype: torch.dtype = model.dtype
        ids = int(model.get_input_embeddings().weight.shape[0])
        if self.bos is not None and not (isinstance(self.bos, int) and 0 <= self.bos < ids):
            raise ValueError(f"bos={self.bos!r}: give one of the model's token ids, 0 to {ids - 1}, or None")
        if cache_bytes is not None and not (isinstance(cache_bytes, int) and cache_bytes >= 0):
            raise ValueError(f"cache_bytes={cache_bytes!r}: give a number of bytes, such as 4 << 30 for 4 GiB")
        self._offset = 0 if self.bos is None else 1
        on_gpu = self._device.type == "cuda"
        self.max_batch = max_batch or (1024 if on_gpu else 256)
        if ahead is not None and not (isinstance(ahead, int) and ahead >= 1):
            raise ValueError(f"ahead={ahead!r}: give at least 1, a whole number; 1 is to look after each token")
        self._one_device = {parameter.device for parameter in model.parameters()} == {self._device}
        # Whoever gives logits of their own wants texts drawn from those; and not every device has float64.
        able = self._one_device and self._device.type in ("cpu", "cuda")
        able = able and type(self).logits is TransformersModel.logits
        self.ahead = (ahead or (8 if on_gpu else 1)) if able else 1
        if cache_bytes is None:
            cache_bytes = torch.cuda.mem_get_info(self._device)[0] // 2 if on_gpu else DEFAULT_CACHE_BYTES
        self._slots = Slots(SlotCache(int(self._config.num_hidden_layers)), self._offset, cache_bytes)
        self._recent = RecentLogits(logits_bytes)
        self.root = Prefix()
        self.usage = Usage()
        head = model.get_output_embeddings()
        self.vocab_size = int(self._config.vocab_size if head is None else head.weight.shape[0])
        self._ids = min(self.vocab_size, ids)
        self.eos_tokens = _eos_tokens(model, tokenizer, self.vocab_size)
        self.opens_with_space = self._tokens is not None and self._tokens.opens_with_space
        self._kinds = kinds_of(self._config)
        self._pass = None
        self._steps = None
        self._remarks: list[str] = []
        if self._tokens is not None and self._tokens.dropped:
            left_out = self._tokens.tokenizer.decode(list(self._tokens.dropped))
            self._remarks.append(
                f"contexts do not begin with the tokenizer's {left_out!r}: write it where it is wanted"
            )
        problem = self._choose_pass(own)
        if problem:
            self.ahead, self._steps = 1, None
            self._do_without_cache(problem)

    def logits(self, nodes: Sequence[Prefix]) -> Tensor:
        """Next-token logits after each of ``nodes``, float32 [len(nodes), vocab_size] on the model's device.

        Raises:
            ContextError: a path is longer than the model's positions, or is empty and the model has no BOS token.
            NoRoom: a single path does not fit in memory.
        """
        for node in nodes:
            self._check(node)
        pending = dict.fromkeys(node for node in nodes if not self._recent.has(node))
        found = {node: self._recent.of(node) for node in nodes if node not in pending}
        with torch.inference_mode():
            while pending:
                computed, block = self._compute(pending) if self._pass is not None else self._compute_whole(pending)
                self._recent.add(computed, block)
                for row, node in enumerate(computed):
                    found[node] = (block, row)
                    del pending[node]
        return gather([found[node] for node in nodes], self.vocab_size, self._device)

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of ``text``, as of one that begins here, with no special tokens added.

        Raises:
            ValueError: there is no tokenizer, or the model has no numbers for one of its tokens.
        """
        return self._known(self._text().encode(text))

    def encode_after(self, text: str) -> tuple[int, ...]:
        """The token ids of ``text`` where other text stands before it.

        Raises:
            ValueError: as for :meth:`encode`.
        """
        return self._known(self._text().encode_after(text))

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """The token ids of a conversation, as the tokenizer's chat template writes it, without the implicit BOS.

        Raises:
            ValueError: there is no tokenizer or it has no chat template.
        """
        return self._known(self._text().encode_chat(messages, skip=self.bos))

    def decode_bytes(self, token: int) -> bytes:
        """The bytes that ``token`` stands for; empty for special tokens.

        Raises:
            ValueError: there is no tokenizer.
        """
        return self._text().decode_bytes(token)

    def describe(self) -> str:
        """For example "LlamaForCausalLM, 0.8M parameters, float32 on cpu"."""
        size = self.size
        scale, unit = (1e9, "B") if size >= 1e9 else (1e6, "M") if size >= 1e5 else (1e3, "K")
        dtype = str(self._dtype).removeprefix("torch.")
        remarks = "".join(f"; {remark}" for remark in self._remarks)
        if self._steps is not None and self._steps.problem:
            remarks += f"; {'some steps ' * self._steps.capture}without CUDA graphs ({self._steps.problem})"
        return f"{type(self.model).__name__}, {size / scale:.1f}{unit} parameters, {dtype} on {self._device}{remarks}"

    def cache_info(self) -> CacheInfo:
        """What is cached now."""
        slots = self._slots
        positions = slots.cache.slots * slots.cache.capacity + slots.cache.stems.positions
        return CacheInfo(
            positions * slots.cache.position_bytes,
            slots.pool.budget,
            slots.pool.in_use,
            len(slots.stems.all),
            self._recent.bytes,
            self.usage.snapshot(),
        )

    def clear_cache(self) -> None:
        """Free all cached keys, values and logits; they are computed again when needed, from the weights as of now."""
        self._forget_slots()
        self._recent.clear()
        if isinstance(self._pass, Decoder):
            self._pass.refresh()

    def _known(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        largest = max(tokens, default=0)
        if largest >= self._ids:
            raise ValueError(
                f"the tokenizer gives the id {largest}, but {type(self.model).__name__} has ids up to {self._ids - 1}: "
                "it is another model's tokenizer, or tokens were added to it and not to the model"
            )
        return tokens

    def _text(self) -> Tokens:
        if self._tokens is None:
            raise ValueError(f"{self.describe()} was loaded without a tokenizer; give token ids instead of text")
        return self._tokens

    def _check(self, node: Prefix) -> None:
        home = node.home if node.home is not None or node.parent is None else node.parent.home
        if home is not None and home.cache is not self._slots.cache:
            raise ValueError("a node of another model's trie: each model has a root of its own, and nodes from there")
        length = node.length + self._offset
        if length == 0:
            raise ContextError(
                "the context is empty and this model has no BOS token to start from: give it at least one token, "
                "or a BOS token when loading it (bos=...)",
                node,
            )
        if self.max_length is not None and length > self.max_length:
            raise ContextError(
                f"the context has {length} tokens, but the model has positions for {self.max_length} "
                "(max_position_embeddings): shorten it, or bound the texts in it by max_tokens=",
                node,
            )

    def _compute_whole(self, pending: Mapping[Prefix, None]) -> tuple[list[Prefix], Tensor]:
        """The same as :meth:`_compute` for models without a usable cache: whole sequences, those of one length."""
        ordered = sorted(pending, key=lambda node: node.length, reverse=True)
        leaves = [node for node in ordered if node.length == ordered[0].length][: self.max_batch]
        width = ordered[0].length + self._offset
        ids: list[list[int]] = []
        keep: dict[Prefix, int] = {}
        for index, leaf in enumerate(leaves):
            path = list(leaf.ancestors())[width - 1 :: -1]
            ids.append([self._id(node) for node in path])
            for column, node in enumerate(path):
                if node in pending:
                    keep.setdefault(node, index * width + column)
        tokens = torch.tensor(ids, device=self._device)
        logits = self.model(input_ids=tokens, use_cache=False, return_dict=True).logits
        self.usage.forwards += 1
        self.usage.positions += tokens.numel()
        return list(keep), logits.flatten(0, 1)[torch.tensor(list(keep.values()), device=self._device)].float()

    def _id(self, node: Prefix) -> int:
        return self.bos if node.parent is None and self.bos is not None else node.token

    def _choose_pass(self, own: bool) -> str:
        """Find the fastest way that gives the model's logits; why no way does that uses a cache, or ""."""
        if self._kinds is None:
            return "its layers are not plain attention"
        if not self._positions_left(POSITIONS):
            return "it has too few positions to try"
        slots, implementation = self._slots, self.model.config._attn_implementation
        slots.sharing = 1
        known = f"its attention is {implementation!r}" if implementation != "sdpa" else ""
        problem = known or why_not(self.model, own)
        if not problem:
            slow = why_not_swift(self.model, self._kinds)
            self._pass = decoder = Decoder(self.model, slots.cache, self._kinds, swift=not slow)
            problem = self._why_wrong()
            if problem and decoder.swift:
                slow, decoder.swift = problem, False
                problem = self._why_wrong()
            if slow and not problem and self._device.type == "cuda":
                self._remarks.append(f"without kernels of its own ({slow})")
        if problem:
            self._remarks.append(f"computed by its own modules ({problem})")
            self._pass = Modules(self.model, slots.cache, self._kinds)
            problem = known
            if not problem:
                self.model.set_attn_implementation(kv_modules.NAME)
                problem = self._why_wrong()
        slots.sharing = None if problem else WORTH
        if not problem:
            return ""
        self._remarks.append(f"common beginnings are read for each context ({problem})")
        self.model.set_attn_implementation(implementation)
        problem = self._why_wrong()
        if problem:
            self._pass = None
        return problem

    def _positions_left(self, count: int) -> bool:
        return self.max_length is None or self.max_length >= self._offset + count

    def _do_without_cache(self, problem: str) -> None:
        """Say that whole sequences are computed, and why.

        Raises:
            ValueError: the model is not causal.
        """
        if self._sees_ahead():
            raise ValueError(
                f"{type(self.model).__name__} lets tokens see those that come after them, so it can't write a text "
                "token by token; load a causal language model (some of this kind are one with is_decoder=True in "
                "their configuration)"
            )
        self._remarks = [f"every sequence is computed from its start ({problem})"]
        warnings.warn(
            f"{type(self.model).__name__} does not work with cached positions of ragged rows ({problem}); "
            "every sequence is computed from its start each time, which is slow",
            stacklevel=3,
        )

    def _sees_ahead(self) -> bool:
        """Whether a token's logits depend on what comes after it; no, where that can't be tried."""
        if not self._positions_left(POSITIONS):
            return False
        try:
            with torch.inference_mode():
                return sees_ahead(self._compute_whole, self.vocab_size, self._dtype)
        except MemoryError:
            raise
        except Exception:  # it computes nothing here, as on a device without data: whoever asks it for logits is told
            return False
        finally:
            self.usage = Usage()

    def _make_steps(self) -> Steps:
        """What takes decode steps by the way that was chosen."""
        assert self._pass is not None
        capture = self._device.type == "cuda" and self._one_device
        ragged = capture and isinstance(self._pass, Decoder) and self._pass.swift
        return Steps(
            self._pass,
            self._slots.cache,
            self._device,
            self.vocab_size,
            self.ahead,
            bos=self.bos,
            ragged=ragged,
            capture=capture,
        )

    def _why_wrong(self) -> str:
        """Why the way chosen does not give the model's own logits, or ""."""
        self._steps = self._make_steps()
        pool = self._slots.pool
        budget, pool.budget = pool.budget, 1 << 62  # in a small one no stem is made, and none would have been tried
        try:
            with torch.inference_mode():
                steps = self._steps.capture and self._positions_left(POSITIONS + _REPEATS)
                repeats = _REPEATS if steps else 0
                return why_wrong(self._compute, self._compute_whole, self.vocab_size, self._dtype, repeats)
        finally:
            pool.budget = budget
            self._forget_slots()
            self.usage = Usage()


def _max_length(config: Any) -> int | None:
    """The most positions a path may have, or ``None`` if the model does not say."""
    # MPT has a name of its own; XLNet writes -1 where there is no limit.
    given: int | None = getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None)
    longest = given if given is not None and given > 0 else None
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        # Past its original length such a model turns all positions, cached ones too, by other angles, and decides so
        # by the longest row of a batch: a row's logits would depend on its neighbours.
        original = rope.get("original_max_position_embeddings")
        longest = original or getattr(config, "original_max_position_embeddings", None) or longest
    return longest


def _eos_tokens(model: Any, tokenizer: Any, vocab_size: int) -> frozenset[int]:
    """The ids that end a text, by the generation settings, the model's configuration and the tokenizer."""
    found: set[int] = set()
    for source in (model.generation_config, model.config.get_text_config(decoder=True), tokenizer):
        ids = getattr(source, "eos_token_id", None)
        found.update(ids if isinstance(ids, Iterable) else () if ids is None else (ids,))
    return frozenset(int(token) for token in found if 0 <= token < vocab_size)
