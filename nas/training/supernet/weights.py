"""Shared weights: one tensor for each shared array, and networks that read windows of them.

The supernet is no network of its own. A candidate's graph is run by the interpreter, like any
other, on copies of its windows; the gradients of the copies are added where they came from. So
every operator, block and precision that trains alone trains here too.

*Source:* slices as in "Once-for-All", see `search_spaces.space.sharing`; first weights as in
`nas.nn.initialisation`, by the fan-in of the largest slice.
"""

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor, nn

from nas.nn.initialisation import LAST, weight_steps
from nas.nn.interpreter import Interpreter
from nas.nn.layers import STATISTICS
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.quantization.codes import is_coded
from search_spaces.space.sharing import Key, Role, SharedWindow, windows_of
from search_spaces.space.space import Architecture
from search_spaces.space.store import SharedStore


class NoSharedWeightsError(UserError):
    """A network of which the shared weights do not hold all."""


class SharedWeights:
    """The shared arrays of a space, as parameters.

    Attributes:
        parameters: By key, in the store's order, each in the shape that the store states.
    """

    def __init__(
        self,
        store: SharedStore,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.store = store
        self.parameters: dict[Key, nn.Parameter] = {
            key: nn.Parameter(first_values(shape, store.roles[key], generator).to(device))
            for key, shape in store.shapes.items()
        }

    def windows(self, architecture: Architecture) -> dict[str, SharedWindow]:
        """Returns the windows of a network's arrays; steps that nobody shares are left out.

        Raises:
            NoSharedWeightsError: If another array is not shared.
        """
        windows = windows_of(architecture)
        if (name := self.store.missing(windows)) is not None:
            raise NoSharedWeightsError(
                f"{name}: the supernet was trained without this array, which next to no network "
                "of the space has; search.evaluation: training trains it"
            )
        shapes = self.store.shapes
        return {
            name: window
            for name, window in windows.items()
            if window.key in shapes and window.fits(shapes[window.key])
        }

    def module(self, graph: Graph, windows: Mapping[str, SharedWindow]) -> Interpreter:
        """Returns the network with copies of its windows; statistics of norms are the identity.

        Steps of weights that nobody has trained yet are told by the weights, and those of maps
        will be by the first training batch.
        """
        module = Interpreter(graph, drawn=False)
        module.to(next(iter(self.parameters.values())).device)
        held = module.state_dict(keep_vars=True)
        with torch.no_grad():
            for name, tensor in held.items():
                window = windows.get(name)
                if window is not None:
                    tensor.copy_(self.view(window).reshape(tensor.shape))
                elif name.rpartition(".")[2] in STATISTICS:
                    tensor.fill_(float(name.endswith("variance")))
                else:
                    tensor.zero_()  # a step that is not shared
            self._tell_steps(module, held)
        for quantizer in module.quantizers():
            quantizer.has_step = bool(quantizer["step"] > 0)
        return module

    def _tell_steps(self, module: Interpreter, held: Mapping[str, Tensor]) -> None:
        for node in module.graph.nodes:
            step = held.get(f"{node.name}.weight.step") if is_coded(node) else None
            if step is not None and not bool((step > 0).all()):
                told = weight_steps(node, held[f"{node.name}.weight"], False)
                step.copy_(torch.where(step > 0, step, told))

    def view(self, window: SharedWindow) -> Tensor:
        """Returns what a window shows, in its folded shape; writing to it writes to the whole."""
        whole = self.parameters[window.key].detach()
        return whole[window.slices(tuple(whole.shape))]

    def keep_steps(self, module: Interpreter, windows: Mapping[str, SharedWindow]) -> None:
        """Takes over the steps that a network was told and nobody had before."""
        held = module.state_dict(keep_vars=True)
        with torch.no_grad():
            for name, window in windows.items():
                if window.role.is_step:
                    shared = self.view(window)
                    shared.copy_(torch.where(shared > 0, shared, held[name].detach()))

    def add_gradients(self, module: Interpreter, windows: Mapping[str, SharedWindow]) -> None:
        """Adds the gradients of a network's arrays to those of the shared ones."""
        for name, parameter in module.named_parameters():
            window = windows.get(name)
            if window is None or parameter.grad is None:
                continue
            shared = self.parameters[window.key]
            if shared.grad is None:
                shared.grad = torch.zeros_like(shared)
            place = shared.grad[window.slices(tuple(shared.shape))]
            place += parameter.grad.reshape(window.folded)

    def forget_gradients(self) -> None:
        """Lets go of all gradients: what the next step does not touch stays as it is."""
        for parameter in self.parameters.values():
            parameter.grad = None


def first_values(shape: tuple[int, ...], role: Role, generator: torch.Generator | None) -> Tensor:
    """Returns what an array starts from; steps stay zero until they are told."""
    if role.is_weight:
        # All but the outputs' axis, and that of groups before it in a grouped convolution.
        fan_in = prod(shape[2 if len(shape) == 5 else 1 :])
        deviation = LAST if role.last else ((2.0 if role.activated else 1.0) / fan_in) ** 0.5
        return torch.empty(shape).normal_(0, deviation, generator=generator)
    return torch.full(shape, float(role.is_gain))
