"""What can be built: graphs, blocks, published networks, spaces. Needs numpy only."""

from typing import TYPE_CHECKING

from search_spaces.front_door import front_door
from search_spaces.telemetry import switch_off

switch_off()  # before anything of ours imports a library

if TYPE_CHECKING:
    from search_spaces.building.builder import GraphBuilder as GraphBuilder
    from search_spaces.graphs.cost import network_cost as network_cost
    from search_spaces.graphs.errors import UserError as UserError
    from search_spaces.graphs.graph import Graph as Graph
    from search_spaces.graphs.model import Model as Model
    from search_spaces.networks import get_network as get_network
    from search_spaces.space.architecture import graph_hash as graph_hash
    from search_spaces.space.architecture import load_architecture as load_architecture
    from search_spaces.space.architecture import save_architecture as save_architecture
    from search_spaces.space.space import Architecture as Architecture
    from search_spaces.space.space import sample as sample

# The front door: each name, and the module that it is imported from when it is first asked for.
HOMES = {
    "Architecture": "search_spaces.space.space",
    "Graph": "search_spaces.graphs.graph",
    "GraphBuilder": "search_spaces.building.builder",
    "Model": "search_spaces.graphs.model",
    "UserError": "search_spaces.graphs.errors",
    "get_network": "search_spaces.networks",
    "graph_hash": "search_spaces.space.architecture",
    "load_architecture": "search_spaces.space.architecture",
    "network_cost": "search_spaces.graphs.cost",
    "sample": "search_spaces.space.space",
    "save_architecture": "search_spaces.space.architecture",
}
__all__ = list(HOMES)
__getattr__, __dir__ = front_door(__name__, HOMES)
