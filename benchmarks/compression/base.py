"""The networks that the other benchmarks compress, trained plainly and sparsely.

python -m benchmarks.compression.base --data DATA --network vgg16
"""

from dataclasses import replace

from benchmarks.compression.networks import NETWORKS
from benchmarks.compression.setting import load, parser, recipes
from benchmarks.compression.training import Shelf


def main() -> None:
    given = parser(__doc__).parse_args()
    shelf = Shelf(given.kept / given.network, load(given))
    full, _ = recipes(given)
    graph = NETWORKS[given.network](given.width)
    shelf.trained("base", graph, full)
    shelf.trained("sparse", graph, replace(full, norm_l1=given.norm_l1))


if __name__ == "__main__":
    main()
