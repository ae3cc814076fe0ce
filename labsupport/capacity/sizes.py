"""The exercise's first line, with units: how many connections a server holds."""

from labsupport.capacity import closed_forms as forms
from labsupport.capacity.quantities import Quantity, one_family


def connections_per_server(memory: str, connection: str, *, base: str = "0 B", headroom: float = 0.0) -> int:
    """(RAM·(1 − h) − M₀)/m, whole: "16 GB" at "50 KB" hold 320 000, "16 GiB" at "50 KiB" 335 544.

    UnitError when a unit is missing, or decimal and binary are mixed.
    """
    sizes = {
        name: Quantity.parse(name, given, "bytes")
        for name, given in (("memory", memory), ("connection", connection), ("base", base))
    }
    one_family(sizes.items())
    if not 0 <= headroom < 1:
        raise ValueError(f"headroom is a share: expected 0 to below 1, got {headroom!r}")
    if not sizes["connection"].value:
        raise ValueError("connection must be above 0: something that weighs nothing fits any number of times")
    ram, each, first = (sizes[name].value for name in ("memory", "connection", "base"))
    return int(forms.connections_in_memory(ram, first, each, headroom=headroom))
