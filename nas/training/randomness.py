"""Torch's own random state, as one training sees it; dropout draws from it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from nas.training.state import DamagedStateError, RandomDevice, RandomState


class TorchRandom:
    """A random state that stands in torch's place while its training runs, and is kept between.

    Args:
        device: What is trained on; a GPU has a state of its own beside the CPU's.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed = seed
        self._devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(self._devices):
            self.begin_anew()
            self._keep()

    def begin_anew(self) -> None:
        """Seeds torch's state; to be called while it is in place."""
        torch.manual_seed(self._seed)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Draws from this state inside; afterwards torch's is what it was before."""
        with torch.random.fork_rng(self._devices):
            torch.random.set_rng_state(self._cpu)
            for device in self._devices:
                torch.cuda.set_rng_state(self._cuda, device)
            try:
                yield
            finally:
                self._keep()

    def _keep(self) -> None:
        self._cpu = torch.random.get_rng_state()
        for device in self._devices:
            self._cuda = torch.cuda.get_rng_state(device)

    def state(self) -> dict[RandomDevice, RandomState]:
        """Returns a copy of the state, by kind of device."""
        states: dict[RandomDevice, RandomState] = {"cpu": np.array(self._cpu.numpy())}
        if self._devices:
            states["cuda"] = np.array(self._cuda.numpy())
        return states

    def restore(self, states: Mapping[RandomDevice, RandomState]) -> None:
        """Goes on from ``states``.

        Raises:
            DamagedStateError: If they are none of this torch, or of other devices.
        """
        try:
            self._cpu = torch.from_numpy(np.array(states["cpu"]))
            if self._devices:
                self._cuda = torch.from_numpy(np.array(states["cuda"]))
            with self.in_place():  # where torch looks at them
                pass
        except (RuntimeError, KeyError) as error:
            raise DamagedStateError(
                f"a training's random state is none of torch: {error}"
            ) from None
