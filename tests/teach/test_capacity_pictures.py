"""A plan's pictures: names beside hues, a finding as title, and a sentence that says the same."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from matplotlib.figure import Figure

from labsupport.teach import capacity_pictures as pictures
from labsupport.teach.figures import figure_html, title_of


@dataclass
class Region:
    """Two limits that cross: memory by users alone, CPU by users times rate; three servers' worth of each."""

    users: np.ndarray = field(default_factory=lambda: np.logspace(4, 7, 81))
    per_s: np.ndarray = field(default_factory=lambda: np.logspace(-2, 1, 61))
    rate_label: str = "messages in one room"
    servers: int = 3
    planned_users: float = 1e6
    planned_per_s: float = 0.1
    margins: dict[str, np.ndarray] = field(init=False)
    exact: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        memory = self.users[None, :] / 5e5 + 0 * self.per_s[:, None]
        cpu = self.users[None, :] * self.per_s[:, None] / 2e5
        lead = np.log(memory / cpu)
        self.margins = {"memory": lead, "CPU": -lead, "broker": np.full_like(lead, -np.inf)}
        self.exact = np.maximum(memory, cpu)


@dataclass
class Driver:
    label: str
    low_text: str
    high_text: str
    servers_low: int
    servers_high: int


@dataclass
class Curve:
    users: np.ndarray = field(default_factory=lambda: np.logspace(3, 7, 41))
    spare: int = 1
    planned_users: float = 1e6
    planned_servers: int = 3
    asked: dict[str, np.ndarray] = field(init=False)
    servers: np.ndarray = field(init=False)
    binding: list[str] = field(init=False)

    def __post_init__(self) -> None:
        memory = self.users / 5e5
        self.asked = {"memory": memory, "reconnect": np.full_like(memory, 2.0)}
        self.servers = np.maximum(np.ceil(memory) + 1, 2.0)
        self.binding = ["memory" if m > 1 else "reconnect" for m in memory]


def words(fig: Figure) -> list[str]:
    return [text.get_text() for ax in fig.axes for text in ax.texts]


def test_each_region_has_its_name_its_hue_and_its_hatch() -> None:
    fig, says = pictures.feasible_region(Region())
    assert {"3 servers enough", "memory gives way", "CPU gives way", "the plan"} <= set(words(fig))
    hatched = {c.get_hatch() for c in fig.axes[0].collections if c.get_hatch()}
    assert len(hatched) == 2
    assert title_of(fig) == "3 servers are enough up to a border; beyond it memory and CPU give way"
    # 3 servers · 2e5 / 1e6 users = 0.6 messages a second
    assert says.replace("\N{NO-BREAK SPACE}", " ").startswith(
        "At the plan's 1 000 000 users 3 servers are enough up to about 0.56/s (messages in one room)."
    )
    assert figure_html(fig, says).startswith("<style>")


def test_a_name_lies_inside_its_region() -> None:
    region = Region()
    fig, _ = pictures.feasible_region(region)
    for text in fig.axes[0].texts:
        row = int(np.argmin(np.abs(np.log(region.per_s / text.xy[1]))))
        column = int(np.argmin(np.abs(np.log(region.users / text.xy[0]))))
        if text.get_text() == "3 servers enough":
            assert region.exact[row, column] <= 3
        elif text.get_text().endswith("gives way"):
            assert region.exact[row, column] > 3
            assert region.margins[text.get_text().split()[0]][row, column] > 0


def test_where_the_broker_gives_way_no_number_of_servers_is_enough() -> None:
    region = Region()
    region.margins["broker"] = np.log(region.users[None, :] * region.per_s[:, None] / 3e4)
    region.margins["CPU"] = np.minimum(region.margins["CPU"], -region.margins["broker"])
    region.margins["memory"] = np.minimum(region.margins["memory"], -region.margins["broker"])
    fig, says = pictures.feasible_region(region)
    assert "broker gives way" in words(fig)
    assert "up to about 0.028/s" in says


def test_a_picture_in_which_nothing_gives_way_says_so() -> None:
    fig, says = pictures.feasible_region(Region(servers=10_000_000))
    assert title_of(fig).endswith("servers are enough anywhere in here")
    assert figure_html(fig, says)


def test_a_bar_for_each_range_with_its_ends_named() -> None:
    drivers = [
        Driver("memory of a connection", "10 KB", "60 KB", 2, 5),
        Driver("one message", "1 KB", "2 KB", 3, 3),
    ]
    fig, says = pictures.sensitivity(drivers, 3)
    assert {"10 KB", "60 KB", "1 KB to 2 KB: no change", "the plan: 3"} <= set(words(fig))
    assert title_of(fig) == "What moves the plan most is memory of a connection: 2 to 5 servers"
    assert (
        "Memory of a connection from 10 KB to 60 KB: 2 to 5; one message from 1 KB to 2 KB: 3 throughout."
        in says
    )
    assert figure_html(fig, says)


def test_an_input_that_lowers_the_servers_is_drawn_the_other_way_round() -> None:
    fig, _ = pictures.sensitivity([Driver("pause", "1 s", "30 s", 9, 2)], 4)
    low, high = (next(t for t in fig.axes[0].texts if t.get_text() == text) for text in ("1 s", "30 s"))
    assert (low.xy[0], low.get_ha()) == (9, "left")
    assert (high.xy[0], high.get_ha()) == (2, "right")


def test_without_a_range_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match=r"give one as between\(low, high\)"):
        pictures.sensitivity([], 3)


def test_the_curve_names_what_decides_along_the_way() -> None:
    fig, says = pictures.servers_against_users(Curve())
    assert title_of(fig) == "What decides changes with the users: reconnect, then memory"
    assert [t.get_text() for t in fig.axes[0].get_legend().get_texts()] == [
        "reconnect decides",
        "memory decides",
    ]
    decides = [line for line in fig.axes[0].lines if line.get_label().endswith("decides")]
    assert len({line.get_marker() for line in decides}) == 2  # never by colour alone
    assert len({str(line.get_linestyle()) + str(line._dash_pattern) for line in decides}) == 2
    assert "reconnect from 1 000 to" in says.replace("\N{NO-BREAK SPACE}", " ")
    assert figure_html(fig, says)


def test_the_same_data_give_the_same_picture() -> None:
    for draw in (lambda: pictures.feasible_region(Region()), lambda: pictures.servers_against_users(Curve())):
        assert figure_html(*draw()) == figure_html(*draw())


def test_every_limit_has_a_look_of_its_own() -> None:
    looks = pictures.LOOKS.values()
    for part in ("hatch", "mark"):
        assert len({getattr(look, part) for look in looks}) == len(looks)
