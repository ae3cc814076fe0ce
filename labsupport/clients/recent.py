"""What has come lately, so that what comes twice is told apart: the newest so many, no more."""

from collections import deque
from collections.abc import Hashable


class Recent:
    """A set that forgets its oldest."""

    def __init__(self, limit: int) -> None:
        self._order: deque[Hashable] = deque()
        self._set: set[Hashable] = set()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._set)

    def add(self, one: Hashable) -> bool:
        """Note it; False if it is there already."""
        if one in self._set:
            return False
        if len(self._order) == self._limit:
            self._set.remove(self._order.popleft())
        self._order.append(one)
        self._set.add(one)
        return True
