"""Measure real servers on this machine, and no other: load, delay, bytes, memory.

park            1 000 requests, held, counted, woken by one publish             load.py
short_polling   given arrivals and phases, played against a real server         polling.py
long_polling    the same with held requests                                     polling.py
weigh_parked    what a parked request costs in memory                           memory.py
weigh           all that a profile holds                                        machine.py
main            `python -m labsupport measure`                                  command.py
"""

from labsupport.measure.command import main
from labsupport.measure.fleet import Woken
from labsupport.measure.load import Parking, park
from labsupport.measure.machine import weigh
from labsupport.measure.memory import ParkedWeight, weigh_parked
from labsupport.measure.polling import long_polling, short_polling
from labsupport.measure.polling_run import LongPollingRun, PollingRun, ShortPollingRun
from labsupport.measure.sockets import LoadError

__all__ = [
    "LoadError",
    "LongPollingRun",
    "ParkedWeight",
    "Parking",
    "PollingRun",
    "ShortPollingRun",
    "Woken",
    "long_polling",
    "main",
    "park",
    "short_polling",
    "weigh",
    "weigh_parked",
]
