"""LeNet-300-100 and LeNet-5, trained, pruned in rounds, shared, retrained and archived.

    python -m benchmarks.archives.lenet --data DATA --network lenet5 --json FILE

Every row is a network of a share of the weights and a codebook of so many bits a layer: its
accuracy on the 10,000 test images, its archive with Huffman codes and with the context model, and
how many times smaller that is than its weights, biases included, at fp32. Rows of the paper's
densities and bits are marked. Each round of pruning goes on from the one before; all of them learn
from the labels and from the whole network. Of shared and retrained values those of the better
validation accuracy are archived, as the step ``share`` does it. Trainings are kept and taken up
where they were killed.
"""

from collections.abc import Iterator

from benchmarks.archives.mnist import CASES, Bits, Case, parser, shelf_of
from benchmarks.compression.training import Shelf, Trained
from benchmarks.report import print_table, write_json
from nas.models.archives.archive import archive_bytes
from nas.models.archives.forms import Entropy
from nas.models.folder import ModelInput, StoredModel
from nas.problem.training_config import TrainingConfig
from nas.training.accuracy import accuracy
from nas.training.holding import to_hold
from search_spaces.compression.sharing import share_weights
from search_spaces.compression.weight_pruning import by_layer, kept_share, prune_weights
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.model import Model
from search_spaces.quantization.reprecision import layers


def pruned_in_rounds(shelf: Shelf, case: Case, base: Trained) -> Iterator[tuple[float, Trained]]:
    """Yields what is left after each round of pruning and training on, and the network."""
    model, (_, config, _) = base.model, case.recipes()
    for kept in case.rounds:
        cut = prune_weights(model, "ratio", 1 - kept)
        trained = taught(shelf, f"kept {kept:g}", cut, config, base.model)
        yield kept, trained
        model = trained.model


def shared(
    shelf: Shelf, case: Case, kept: float, bits: Bits, model: Model, base: Model
) -> tuple[Model, Model]:
    """Returns the network right after sharing, and with trained values."""
    cut = share_weights(model, by_layer(layers(model.graph), bits))
    *_, config = case.recipes()
    name = f"kept {kept:g} bits {in_words(case, bits)}"
    return cut, taught(shelf, name, cut, config, base).model


def better(shelf: Shelf, before: Model, after: Model) -> Model:
    """Returns the network of better validation accuracy, as the step ``share`` keeps it."""
    one, other = (accuracy(each, shelf.data.validation) for each in (before, after))
    return before if other < one else after


def in_words(case: Case, bits: Bits) -> str:
    """Returns the bits of each layer, in the network's order."""
    return " ".join(map(str, by_layer(layers(case.graph()), bits).values()))


def taught(
    shelf: Shelf, name: str, model: Model, config: TrainingConfig, teacher: Model
) -> Trained:
    """Returns a network trained on from where it is; what it is, it stays."""
    held = to_hold(config, model)
    return shelf.trained(name, model.graph, held, start=model, teacher=teacher)


def sizes(model: Model, name: str) -> dict[str, float]:
    """Returns the bytes of a network's archives, the whole file, and how many times less."""
    stored = StoredModel(
        name, model, input=ModelInput(), class_names=None, source={"from": "benchmark"}
    )
    whole = network_cost(model.graph).params * 4
    kinds: tuple[Entropy, ...] = ("huffman", "ans")
    made = {kind: len(archive_bytes(stored, kind)) for kind in kinds}
    bytes_of: dict[str, float] = {f"{kind} B": size for kind, size in made.items()}
    return bytes_of | {f"{kind} x": whole / size for kind, size in made.items()}


def rows_of(shelf: Shelf, case: Case) -> Iterator[dict[str, object]]:
    base = shelf.trained("base", case.graph(), case.recipes()[0])
    seen = accuracy(base.model, shelf.data.validation)
    for kept, pruned in pruned_in_rounds(shelf, case, base):
        for bits in case.rounds[kept]:
            before, after = shared(shelf, case, kept, bits, pruned.model, base.model)
            chosen = better(shelf, before, after)
            found = accuracy(chosen, shelf.data.test)
            yield {
                "kept %": 100 * kept_share(chosen),
                "bits": in_words(case, bits),
                "paper's": "yes" if (kept, bits) == case.paper else "",
                "whole %": 100 * base.accuracy,
                "pruned %": 100 * pruned.accuracy,
                "shared %": 100 * accuracy(before, shelf.data.test),
                "retrained %": 100 * accuracy(after, shelf.data.test),
                "chosen": "shared" if chosen is before else "retrained",
                "loss": 100 * (base.accuracy - found),
                "validation loss": 100 * (seen - accuracy(chosen, shelf.data.validation)),
                **sizes(chosen, case.network),
            }


def main() -> None:
    given = parser(__doc__).parse_args()
    case, shelf = CASES[given.network], shelf_of(given)
    rows = list(rows_of(shelf, case))
    print_table(f"{case.network} on MNIST, 9,000 training images", rows)
    params = network_cost(case.graph()).params
    known = {"network": case.network, "params": params, "fp32 B": 4 * params}
    write_json(given.json, rows, known | {"paper's ratio": case.paper_ratio})


if __name__ == "__main__":
    main()
