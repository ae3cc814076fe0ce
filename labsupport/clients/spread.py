"""How much later than its wait a client's attempt begins (detection, network), drawn as the models do."""

from labsupport.draws import SPREAD, draw


def spread_s(seed: int, client: int, attempt: int, most_s: float) -> float:
    """Seconds, U(0, `most_s`), for attempt 0, 1, 2 … of a client: the same in a model and for real."""
    return draw(seed, client, attempt, SPREAD) * most_s
