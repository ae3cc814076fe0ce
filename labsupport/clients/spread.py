"""What a client of a crowd draws besides its waits: the same for real clients and for simulated ones."""

from labsupport.draws import LIFETIME, PLACE, SPREAD, draw


def spread_s(seed: int, client: int, attempt: int, most_s: float) -> float:
    """Seconds, U(0, `most_s`): how much later than its wait attempt 0, 1, 2 … begins (detection, network)."""
    return draw(seed, client, attempt, SPREAD) * most_s


def place(seed: int, client: int, attempt: int, places: int) -> int:
    """Which of so many servers, 0 … `places` - 1, attempt 0, 1, 2 … of a client goes to: each as likely."""
    return int(draw(seed, client, attempt, PLACE) * places)


def life_left_s(seed: int, client: int, most_s: float) -> float:
    """Seconds, U(0, `most_s`), that a client's connection has left when somebody looks.

    Lives of about `most_s`, begun at random moments, are spread like that at any moment.
    """
    return draw(seed, client, 0, LIFETIME) * most_s
