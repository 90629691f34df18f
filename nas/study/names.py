"""Names: the user attributes of trials and studies, by which drivers know of each other."""

# Of a trial.
HASH = "hash"  # of its graph
BASELINE = "baseline"  # the published network it is
ENQUEUED = "enqueued"  # hash of what a person wants evaluated
REPLACED = "replaced"  # the useless genes that its proposal had
EPOCHS = "epochs"  # trained: the fidelity of its accuracy
DRIVER = "driver"  # who works on it

# Of a trial of a shared study.
TICKET = "ticket"  # its turn, from 1
DRAWING = 0  # in the place of a ticket that is being drawn
GIVEN_BACK = "given back"  # why its driver did not evaluate it
EVALUATION = "evaluation"  # what only its driver has on file, as is
ARCHITECTURE = "architecture"  # as JSON; also of a trial that the space cannot decide

# Of a study; the last two are what keys begin with.
TERMS = "terms"  # what all its drivers must have in common
EARLIER = "earlier runs"  # what its drivers learn from
BEAT = "driver:"  # a driver's beat
LEFT = "left"  # in the place of the beat of one that has left
MEASURED = "measured:"  # an evaluation whose latency was measured later
