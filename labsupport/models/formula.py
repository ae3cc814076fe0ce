"""What all formulas share: plain numbers for plain numbers, arrays for arrays."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a formula return plain floats for numbers: a notebook prints 0.92 and not np.float64(0.92)."""

    @wraps(function)
    def formula(*arguments: Any, **options: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            result = np.asarray(function(*arguments, **options), dtype=float)
        return result if result.ndim else float(result)

    return formula
