"""Kept state: a training that is saved now and then, and taken up where it was.

A process that dies costs the epochs since the last save, and changes no weight.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from nas.runs.files import DiskFullError, is_full
from nas.training.checkpoints import Checkpoints
from nas.training.state import DamagedStateError, Recipe, TrainingState, from_bytes, to_bytes
from search_spaces.space.architecture import graph_hash

CHECKPOINT_EVERY_S = 30.0

log = logging.getLogger("nas.search")


@dataclass(frozen=True, slots=True)
class KeptState:
    """Where the state of one training is kept while it goes on.

    Attributes:
        recipe: What the state belongs to.
        every_s: Least seconds between two saves; 0 saves after every epoch.
    """

    checkpoints: Checkpoints
    recipe: Recipe
    every_s: float = CHECKPOINT_EVERY_S

    @property
    def key(self) -> str:
        return graph_hash(self.recipe.graph)

    def load(self) -> TrainingState | None:
        """Returns where the training was when it was interrupted; None where it is to begin.

        What is damaged, or of another training, is dropped.
        """
        content = self.checkpoints.load(self.key)
        if content is None:
            return None
        try:
            state = from_bytes(content, self.recipe)
        except DamagedStateError as error:
            log.warning("%s is trained from the start: %s", self.key, error)
            self.drop()
            return None
        phase = "float32 epoch" if state.phase == "float32" else "epoch"
        log.info("%s goes on after %s %d", self.key, phase, state.epochs)
        return state

    def saver(self) -> Callable[[Callable[[], TrainingState]], None]:
        """Returns what `nas.training.loop.train` is to call after each epoch."""
        saved_at = monotonic()

        def save_now_and_then(make: Callable[[], TrainingState]) -> None:
            nonlocal saved_at
            if monotonic() - saved_at >= self.every_s:
                self.save(to_bytes(make(), self.recipe))
                saved_at = monotonic()

        return save_now_and_then

    def save(self, content: bytes) -> None:
        """Saves a state if there is room: all else that is written is needed more."""
        try:
            self.checkpoints.save(self.key, content)
        except DiskFullError as error:
            try:
                log.warning("%s goes on without a new checkpoint: %s", self.key, error)
            except OSError as full:  # the log may lie on the same disk
                if not is_full(full):
                    raise

    def drop(self) -> None:
        self.checkpoints.drop(self.key)
