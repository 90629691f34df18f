"""Slimming, with and without sparse training, distillation, and fewer channels to begin with.

    python -m benchmarks.compression.channels --data DATA --network vgg16 --json FILE

Every row is one network: its accuracy on the 10,000 test images right after the cut, with the
statistics of its batch norms taken anew, and after training on; parameters and
multiply-accumulates. ``benchmarks.compression.times`` times what is kept here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.compression.networks import NETWORKS
from benchmarks.compression.setting import load, parser, recipes
from benchmarks.compression.training import Shelf, Trained
from benchmarks.report import print_table, write_json
from nas.data.tensors import TensorSplits
from nas.problem.training_config import TrainingConfig
from nas.training.accuracy import accuracy
from nas.training.recipe.statistics import recomputed_norms
from search_spaces.compression.channels import channel_groups
from search_spaces.compression.importance import importance
from search_spaces.compression.narrowing import narrowed
from search_spaces.compression.removal import remove_channels
from search_spaces.compression.selection import Rules, select
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.model import Model

MULTIPLE = 8  # floats of a vector register: narrower layers are no faster


@dataclass(frozen=True, slots=True)
class Cut:
    """A network without some of its channels, nothing trained on.

    Attributes:
        raw: Test accuracy as it was cut.
        recomputed: The same with statistics of batch norms taken anew.
    """

    model: Model
    raw: float
    recomputed: float


def slimmed(model: Model, ratio: float, data: TensorSplits, multiple: int = MULTIPLE) -> Cut:
    """Returns the model without ``ratio`` of its channels, those of the least norm scales."""
    cut = cut_of(model, ratio, multiple)
    anew = recomputed_norms(cut, data.train)
    return Cut(anew, accuracy(cut, data.test), accuracy(anew, data.test))


def cut_of(model: Model, ratio: float, multiple: int = MULTIPLE) -> Model:
    """Returns the model without ``ratio`` of its channels, its statistics as they were."""
    groups = channel_groups(model.graph)
    scores = importance(model, groups, "norm_scale")
    chosen = select(model.graph, scores, ratio, rules=Rules(multiple=multiple))
    return remove_channels(model, chosen.gone)


def rows_of(
    shelf: Shelf,
    name: str,
    width: float,
    full: TrainingConfig,
    fine: TrainingConfig,
    l1: float,
    with_direct: bool,
) -> Iterator[dict[str, object]]:
    """Yields a row a network; what is to be trained is trained before."""
    data, graph = shelf.data, NETWORKS[name](width)
    base = shelf.trained("base", graph, full)
    yield row("plain", base)
    sparse = shelf.trained("sparse", graph, replace(full, norm_l1=l1))
    yield row("sparse", sparse)
    for ratio in (0.5, 0.7):
        cut = slimmed(sparse.model, ratio, data)
        title = f"slim {ratio:g}"
        tuned = shelf.trained(f"{title} fine", cut.model.graph, fine, start=cut.model)
        yield row(f"{title}, fine-tuned", tuned, cut)
        taught = shelf.trained(
            f"{title} distilled", cut.model.graph, fine, start=cut.model, teacher=base.model
        )
        yield row(f"{title}, distilled", taught, cut)
    cut = slimmed(base.model, 0.3, data)
    tuned = shelf.trained("plain 0.3 fine", cut.model.graph, fine, start=cut.model)
    yield row("cut 0.3 without sparse training", tuned, cut)
    for factor in (0.5, 0.25) if with_direct else ():
        direct = shelf.trained(f"direct {factor:g}", narrowed(graph, factor), full)
        yield row(f"direct {factor:g}", direct)


def row(title: str, trained: Trained, cut: Cut | None = None) -> dict[str, object]:
    cost = network_cost(trained.model.graph)
    return {
        "network": title,
        "raw %": 100 * cut.raw if cut else float("nan"),
        "norms anew %": 100 * cut.recomputed if cut else float("nan"),
        "trained %": 100 * trained.accuracy,
        "epochs": trained.epochs,
        "params": cost.params,
        "macs": cost.macs,
    }


def main() -> None:
    ask = parser(__doc__)
    ask.add_argument("--no-direct", action="store_true", help="no networks from scratch")
    given = ask.parse_args()
    shelf = Shelf(given.kept / given.network, load(given))
    full, fine = recipes(given)
    rows = list(
        rows_of(shelf, given.network, given.width, full, fine, given.norm_l1, not given.no_direct)
    )
    print_table(f"{given.network} at {given.width:g} times its widths, CIFAR-10", rows)
    known = {name: getattr(given, name) for name in ("network", "width", "train", "norm_l1")}
    write_json(given.json, rows, known)


if __name__ == "__main__":
    main()
