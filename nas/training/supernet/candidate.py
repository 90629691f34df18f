"""Candidates of a supernet: networks that are scored as slices, and trained on from there."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from time import perf_counter

from latency_models.devices.lock import making_way
from nas.nn.interpreter import Interpreter, model_arrays
from nas.problem.training_config import TrainingConfig
from nas.training.accuracy import confusion
from nas.training.candidate import CandidateFailedError, CandidateTraining
from nas.training.loop import TrainingResult, finished_model, go_on, train
from nas.training.supernet.slices import sliced
from nas.training.supernet.state import from_bytes
from nas.training.supernet.training import SupernetPlan
from nas.training.supernet.weights import SharedWeights
from search_spaces.graphs.errors import UserError
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture

TUNE_RATE = 0.3  # of the recipe's learning rate, for weights that are trained already


class SupernetTraining:
    """Cuts networks of the space out of a supernet; what is known as a slice is trained on.

    Args:
        training: Trains networks from outside the space.
        plan: What the supernet was trained by.
        load: Returns its file; asked once, for the first network.
        is_slice: Whether the network with this hash was scored as a slice before.
    """

    def __init__(
        self,
        training: CandidateTraining,
        plan: SupernetPlan,
        load: Callable[[], bytes | None],
        is_slice: Callable[[str], bool],
    ) -> None:
        self.training = training
        self.plan = plan
        self.load = load
        self.is_slice = is_slice

    @cached_property
    def weights(self) -> SharedWeights:
        """The trained weights.

        Raises:
            UserError: If there are none, or they are of another space, data or recipe.
        """
        content = self.load()
        if content is None:
            raise UserError(
                "the run's supernet is gone (supernet.safetensors); go on with --resume, which "
                "trains it anew"
            )
        state = from_bytes(content, self.plan.store, self.plan.belongs)
        return self.plan.weights(state.arrays)

    def __call__(self, candidate: Architecture, values: Mapping[str, float], /) -> TrainingResult:
        if not candidate.genes:
            return self.training(candidate, values)
        start = perf_counter()
        module = sliced(self.weights, candidate, self.plan.data.train)
        supernet = self.plan.config.search.supernet
        if supernet.tune_epochs and self.is_slice(graph_hash(candidate.graph)):
            tuned = self.tuned(candidate, module)
            return replace(tuned, weights="tuned", shared_epochs=supernet.epochs)
        model = finished_model(module)
        try:
            found = confusion(model, self.plan.data.validation)
        except FloatingPointError as error:
            raise CandidateFailedError(f"its slice of the supernet: {error}") from None
        return TrainingResult(
            model,
            (),
            (),
            perf_counter() - start,
            finished=True,
            confusion=found,
            weights="slice",
            shared_epochs=supernet.epochs,
        )

    def tuned(self, candidate: Architecture, module: Interpreter) -> TrainingResult:
        """Trains a slice on by the recipe, at a lower rate."""
        config = self.plan.config
        recipe = for_tuning(config.training, config.search.supernet.tune_epochs)
        on_gpu = self.plan.data.train.device.type == "cuda"
        with nullcontext(go_on) if on_gpu else making_way() as make_way:
            return train(
                candidate.graph,
                self.plan.data,
                recipe,
                arrays=model_arrays(module),
                before_step=make_way,
            )

    def forget(self, key: str) -> None:
        self.training.forget(key)


def for_tuning(recipe: TrainingConfig, epochs: int) -> TrainingConfig:
    """Returns the recipe for weights that are trained already."""
    return replace(
        recipe,
        epochs=epochs,
        warmup_epochs=min(recipe.warmup_epochs, epochs / 5),
        fp32_epochs=0,
        learning_rate=TUNE_RATE * recipe.learning_rate,
    )
