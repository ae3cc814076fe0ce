"""numpy.typing's names: they only describe, so anything goes."""

from typing import Any

ArrayLike = Any


class NDArray:
    """NDArray[...] of whatever."""

    def __class_getitem__(cls, _: Any) -> type:
        return cls
