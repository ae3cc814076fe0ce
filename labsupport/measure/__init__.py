"""Measure real servers on this machine, and no other: load, delay, bytes, memory.

listen             thousands of connections that stay open, in processes of their own    listening.py
fan_out            one write, and when each of them had it                               fan_out.py
Floor              the same from a plain loop of send()                                  floor.py
open_front         one address in front of several instances: nginx, or a relay          front.py
reader_rate        events a second to one reader                                         reader.py
slow_readers       a reader who is too slow: delay, loss, memory, pings by policy        slow_readers.py
broker_hop         from one server through a broker to another                           hop.py
open_connections   as many as can be, and what breaks first                              climb.py
weigh_held         what a connection that stays costs, server by server                  weights.py
two_loops          delays by a closed and an open loop, while the server stands still    delay.py
park               1 000 requests, held, counted, woken by one publish                   load.py
short_polling      given arrivals and phases, played against a real server               polling.py
long_polling       the same with held requests                                           polling.py
weigh_parked       what a parked request costs in memory                                 memory.py
weigh              the machine and its polling, for a profile                            machine.py
weigh_connections  the rest of a profile: what held connections cost                     weights.py
main               `python -m labsupport measure`                                        command.py
million.main       `python -m labsupport million`                                        million.py
"""

from labsupport.measure.climb import Climb, limit_descriptors, open_connections
from labsupport.measure.command import main
from labsupport.measure.delay import TwoLoops, two_loops
from labsupport.measure.fan_out import FanOut, fan_out
from labsupport.measure.fleet import Woken
from labsupport.measure.floor import Floor
from labsupport.measure.hop import Hop, broker_hop
from labsupport.measure.listening import Heard, Listening, listen
from labsupport.measure.load import Parking, park
from labsupport.measure.machine import weigh
from labsupport.measure.memory import ParkedWeight, weigh_parked
from labsupport.measure.polling import long_polling, short_polling
from labsupport.measure.polling_run import LongPollingRun, PollingRun, ShortPollingRun
from labsupport.measure.rates import Rate
from labsupport.measure.reader import reader_rate
from labsupport.measure.sockets import LoadError, Origin
from labsupport.measure.storms import StormCrowd, crowd, storm
from labsupport.measure.storms_rate import AcceptRate, accept_rate
from labsupport.measure.storms_run import StormRun
from labsupport.measure.weights import WAYS, HeldWeight, weigh_connections, weigh_held

__all__ = [
    "WAYS",
    "AcceptRate",
    "Climb",
    "FanOut",
    "Floor",
    "Heard",
    "HeldWeight",
    "Hop",
    "Listening",
    "LoadError",
    "LongPollingRun",
    "Origin",
    "ParkedWeight",
    "Parking",
    "PollingRun",
    "ShortPollingRun",
    "StormCrowd",
    "StormRun",
    "Rate",
    "TwoLoops",
    "Woken",
    "accept_rate",
    "broker_hop",
    "crowd",
    "fan_out",
    "limit_descriptors",
    "listen",
    "long_polling",
    "main",
    "open_connections",
    "park",
    "reader_rate",
    "short_polling",
    "storm",
    "two_loops",
    "weigh",
    "weigh_connections",
    "weigh_held",
    "weigh_parked",
]
