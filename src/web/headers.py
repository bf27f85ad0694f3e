"""Mappings whose keys may have several values: ``Headers`` (names without case) and ``MultiValues`` (query, forms).

Both are frozen and keep the order in which the pairs came. ``m[key]`` is the first value, ``m.get_all(key)`` all of
them; iterating gives each key once; ``m.items()`` gives every pair, so a key may come more than once there.
"""

from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView

__all__ = ["Headers", "MultiValues"]


class _Items(ItemsView[str, str]):
    _mapping: "MultiValues"

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._mapping.pairs)

    def __len__(self) -> int:
        return len(self._mapping.pairs)

    def __contains__(self, item: object) -> bool:
        if not (isinstance(item, tuple) and len(item) == 2):
            return False
        return item[1] in self._mapping.get_all(item[0])


class _Values(ValuesView[str]):
    _mapping: "MultiValues"

    def __iter__(self) -> Iterator[str]:
        return (value for _, value in self._mapping.pairs)

    def __len__(self) -> int:
        return len(self._mapping.pairs)

    def __contains__(self, value: object) -> bool:
        return any(value == one for one in self)


class MultiValues(Mapping[str, str]):
    """A frozen mapping of text to one or more texts, in the order in which they came."""

    __slots__ = ("_index", "pairs")
    pairs: tuple[tuple[str, str], ...]

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs = tuple(pairs)
        self._index: dict[str, tuple[str, list[str]]] = {}  # the key as it is compared -> as it first came, values
        for key, value in self.pairs:
            self._index.setdefault(self._same(key), (key, []))[1].append(value)

    @staticmethod
    def _same(key: str) -> str:
        return key

    def __getitem__(self, key: str) -> str:
        return self._index[self._same(key)][1][0]

    def get_all(self, key: str) -> list[str]:
        """All values of ``key``, in order; an empty list when there is none."""
        return list(self._index[self._same(key)][1]) if key in self else []

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._same(key) in self._index

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self._index.values())

    def __len__(self) -> int:
        """The number of distinct keys."""
        return len(self._index)

    def items(self) -> ItemsView[str, str]:
        """Every pair, in order."""
        return _Items(self)

    def values(self) -> ValuesView[str]:
        """Every value, in order."""
        return _Values(self)

    def __eq__(self, other: object) -> bool:
        """Equal when the same pairs came in the same order; a plain mapping when it says the same of each key."""
        if isinstance(other, MultiValues):
            mine = [(self._same(key), value) for key, value in self.pairs]
            return type(self) is type(other) and mine == [(self._same(key), value) for key, value in other.pairs]
        if isinstance(other, Mapping):
            theirs = {self._same(key) if isinstance(key, str) else key: value for key, value in other.items()}
            mine_once = {key: values[0] for key, (_, values) in self._index.items()}
            return len(self.pairs) == len(self._index) and mine_once == theirs
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal to plain dicts, which have no hash

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.pairs)!r})"


class Headers(MultiValues):
    """Header fields (RFC 9110 5): names are compared without case (5.1) and come out as they were sent."""

    __slots__ = ()

    @staticmethod
    def _same(key: str) -> str:
        return key.lower()
