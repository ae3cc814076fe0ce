"""Models: small simulations to read, and the formulas that they are held against.

Each question gets three answers side by side: a closed form where there is one, a simulation (SimPy, one
process per client, written to be read), and the measurement on your machine. The gap between them is part
of the lesson.

    polling                 short and long polling: empty answers, requests, staleness
    polling_closed_forms    the same in formulas; they take numpy arrays, for sliders and curves
    reconnect               a storm of clients that lost their server: the SimPy text, and its face
    reconnect_storm         what a storm is made of: server, queue, and its ways to say no
    reconnect_results       what a run returns, and the gap to a measured storm
    reconnect_numpy         the same run in arrays, bit for bit: a million clients
    reconnect_admit         the accept queue for a sorted crowd
    reconnect_fluid         the limit for many clients
    reconnect_closed_forms  rounds, windows, waves and bounds in formulas
    rehearsal               a deploy in three ways: at once, drained, rotated; held against real servers
    liveness                silent death, presence, boxes that forget: how late, and at what price
    liveness_closed_forms   the same in formulas
    slow_consumer           a reader slower than its messages: wait, drop, keep latest, disconnect
    fan_out                 one message for many: servers touched, the last listener, who owns a topic
    pauses                  a server that stops for a moment: who is late, and who does not see it
    contention              clients that fight over one row: what jitter saves (AWS, 2015)

What holds for all of them: times in seconds, rates per second, units in the names; the seed is an argument,
and the same seed gives the same bytes; results are frozen, hold numpy arrays, draw themselves
(`run.plot()`) and say in a sentence what happened (`run.summary()`). In a browser's Python, without numpy,
labsupport/plain stands in for it, and SimPy for the fast engines. Each docstring says what is assumed,
what is left out and what checks it.
"""
