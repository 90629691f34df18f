"""Numbers: a fingerprint of everything that must stay the same when only code is moved.

    python -m benchmarks.numbers --to before.json        # write it down
    python -m benchmarks.numbers --against before.json   # say what differs now, if anything

Nothing in it is timed, and nothing depends on where files lie, so that two runs on a machine give
the same. Trained weights and compiled code may differ from one kind of processor to the next:
compare on one machine.
"""
