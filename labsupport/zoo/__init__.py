"""The bug zoo: ten small servers and clients, each with one bug that real systems have had.

    from labsupport.zoo import exhibit

    found = exhibit(1)        # the story: what was promised, and what users saw
    found.source              # the code, as it was found
    found.show()              # the trace of a run of it
    found.check(on_tick)      # is your function a fix, and is all the rest as before?
    found.show(on_tick)       # both traces, one above the other

`specimens/` holds the code that a reader reads; `cases/` holds what is done with it: the run, the promises,
the reference fix, and fixes that learners try first.
"""

from labsupport.zoo.frame import Exhibit, NotObserved, Verdict
from labsupport.zoo.hall import NUMBERS, exhibit, exhibits

__all__ = ["NUMBERS", "Exhibit", "NotObserved", "Verdict", "exhibit", "exhibits"]
