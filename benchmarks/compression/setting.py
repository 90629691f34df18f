"""What the compression benchmarks train on, and how: CIFAR-10, cut to what two cores can do."""

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path

from nas.data.augmentation.settings import Augmentation
from nas.data.tensors import TensorSplits
from nas.problem.run_file import read_run_file
from nas.problem.search_problem import load_setting
from nas.problem.training_config import TrainingConfig

SEED = 0
RECIPE = TrainingConfig(
    epochs=15,
    batch_size=64,
    optimizer="sgd",
    learning_rate=0.1,
    weight_decay=5e-4,
    momentum=0.9,
    warmup_epochs=1.0,
    augmentation=Augmentation(flip=True, shift=0.125),
    seed=SEED,
)
# After a cut: what is left learns on at a tenth of the rate.
FINE = replace(RECIPE, epochs=8, learning_rate=0.02, warmup_epochs=0.5)


def parser(about: str) -> ArgumentParser:
    """Returns a parser with what all of these benchmarks ask for."""
    made = ArgumentParser(description=about)
    made.add_argument("--data", type=Path, required=True, help="folder of cifar10_*.parquet")
    made.add_argument("--train", type=int, default=20_000, help="training images")
    made.add_argument("--kept", type=Path, default=Path("runs/compression"))
    made.add_argument("--network", default="vgg16")
    made.add_argument("--width", type=float, default=0.25)
    made.add_argument("--epochs", type=int, default=RECIPE.epochs)
    made.add_argument("--fine-epochs", type=int, default=FINE.epochs)
    made.add_argument("--norm-l1", type=float, default=1e-3, help="of sparse training")
    made.add_argument("--json", type=Path)
    return made


def recipes(given: Namespace) -> tuple[TrainingConfig, TrainingConfig]:
    """Returns how networks are trained from nothing, and after a cut."""
    return replace(RECIPE, epochs=given.epochs), replace(FINE, epochs=given.fine_epochs)


def load(given: Namespace) -> TensorSplits:
    """Returns the images: so many to train on, 2,000 to validate, the 10,000 of the test set."""
    run = read_run_file(
        Path("examples/cifar10.yaml"),
        [
            f"data.path={given.data / 'cifar10_train.parquet'}",
            f"data.test_path={given.data / 'cifar10_test.parquet'}",
            f"data.train={given.train}",
            "data.validation=2000",
            "training.device=cpu",
        ],
    ).config()
    return load_setting(run).tensors
