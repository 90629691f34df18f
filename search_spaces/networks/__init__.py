"""Published networks. Importing a module registers its networks; this list is all of them."""

from search_spaces.networks import alexnet as alexnet
from search_spaces.networks import ghostnet as ghostnet
from search_spaces.networks import lenet as lenet
from search_spaces.networks import mobilenet as mobilenet
from search_spaces.networks import resnet as resnet
from search_spaces.networks import shufflenet as shufflenet
from search_spaces.networks import squeezenet as squeezenet
from search_spaces.networks import vgg as vgg
from search_spaces.networks import xception as xception
from search_spaces.networks.figures import PUBLISHED as PUBLISHED
from search_spaces.networks.figures import Figures as Figures
from search_spaces.networks.registry import NETWORKS as NETWORKS
from search_spaces.networks.registry import Network as Network
from search_spaces.networks.registry import get_network as get_network
