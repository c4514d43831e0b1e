"""The prefix trie: every distinct token sequence a model has seen is one interned node.

Two particles with the same history hold the *same* node, so "compute every prefix once" is "compute every node
once", and a copy of a context is a reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from threading import RLock
from typing import Any
from weakref import ref

_changing = RLock()
"""Held where children come and go: programs may run in several threads, and nodes are freed in any of them."""


class Prefix:
    """A token sequence as a node of a trie; identity is equality within one trie.

    A parent knows its children weakly, so a branch that nobody refers to is freed.

    Attributes:
        parent: the sequence without its last token; ``None`` at the root (the empty sequence).
        token: the last token id; ``-1`` at the root.
        length: the number of tokens.
        home: where the model of this trie keeps what it computed of this token, for the model's own use.
        block, row: the same for the logits after it.
    """

    __slots__ = ("__weakref__", "_children", "_link", "block", "home", "length", "parent", "row", "token")

    parent: Prefix | None
    token: int
    length: int
    home: Any
    block: Any
    row: int

    def __init__(self, parent: Prefix | None = None, token: int = -1) -> None:
        self.parent = parent
        self.token = token
        self.length = 0 if parent is None else parent.length + 1
        self._children: _Child | dict[int, _Child] | None = None  # most have one child, or none
        self._link: ref[Prefix] | None = None
        self.home = self.block = None

    def child(self, token: int) -> Prefix:
        """The interned node for this sequence followed by ``token``."""
        node = None if self._children is None else self._known(token)
        if node is None:
            with _changing:  # another thread may have been here
                node = (None if self._children is None else self._known(token)) or self._new(token)
        return node

    @property
    def link(self) -> ref[Prefix]:
        """A weak reference to this node, the same each time."""
        if self._link is None:  # at the root, which no parent refers to
            self._link = ref(self)
        return self._link

    @property
    def is_leaf(self) -> bool:
        """Whether there is no node below this one."""
        children = self._children
        if isinstance(children, dict):
            return all(link() is None for link in children.values())
        return children is None or children() is None

    def _known(self, token: int) -> Prefix | None:
        children = self._children
        link = children.get(token) if isinstance(children, dict) else children
        return None if link is None or link.token != token else link()

    def _new(self, token: int) -> Prefix:
        node = Prefix(self, token)
        children = self._children
        if children is None or (type(children) is _Child and children() is None):
            self._children = child = _Child(node)  # one that is gone is in nobody's way until the next comes
        else:
            child = _Child(node, _forget)
            child.parent = self.link
            if not isinstance(children, dict):
                children = self._children = {children.token: children}
            children[token] = child
        child.token = token
        node._link = child
        return node

    def extend(self, tokens: Iterable[int]) -> Prefix:
        """The interned node for this sequence followed by ``tokens``."""
        node = self
        for token in tokens:
            only = node._children
            known = only() if type(only) is _Child and only.token == token else None
            node = known or node.child(token)
        return node

    def grow(self, tokens: Iterable[int]) -> list[Prefix]:
        """The interned nodes for this sequence followed by one, two, ... of ``tokens``, where most are new."""
        node, found = self, []
        with _changing:
            for token in tokens:
                node = node._new(token) if node._children is None else node.child(token)
                found.append(node)
        return found

    def ancestors(self) -> Iterator[Prefix]:
        """This node, its parent, and so on up to and including the root."""
        node: Prefix | None = self
        while node is not None:
            yield node
            node = node.parent

    def tokens(self, since: Prefix | None = None) -> tuple[int, ...]:
        """The token ids, from the root or from the ancestor ``since`` on.

        Raises:
            ValueError: ``since`` is not an ancestor of this node.
        """
        found: list[int] = []
        node: Prefix | None = self
        while node is not None and node is not since:
            if node.parent is not None:
                found.append(node.token)
            node = node.parent
        if since is not None and node is None:
            raise ValueError("since is not an ancestor of this prefix")
        return tuple(reversed(found))

    def __repr__(self) -> str:
        return f"Prefix({list(self.tokens())})"


class _Child(ref["Prefix"]):
    """A parent's weak reference to a child. Where there are several, it takes itself away when its node is freed.

    A ``WeakValueDictionary`` a node would do the same at many times the memory, and memory is what nodes are made of.
    The parent is referred to weakly too: who holds this for the node's sake is not to hold the path before it.
    """

    __slots__ = ("parent", "token")

    parent: ref[Prefix]
    token: int


def _forget(child: _Child) -> None:
    with _changing:
        parent = child.parent()
        children = None if parent is None else parent._children
        if isinstance(children, dict) and children.get(child.token) is child:
            del children[child.token]
