"""Measurement: a latency that was timed, in a process of its own; imports compiler."""
