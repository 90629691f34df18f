"""ShuffleNet v1 and v2.

Source: Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile
Devices", CVPR 2018, https://arxiv.org/abs/1707.01083, table 1; Ma et al., "ShuffleNet V2:
Practical Guidelines for Efficient CNN Architecture Design", ECCV 2018,
https://arxiv.org/abs/1807.11164, table 5.
Differs from the paper: the stem of version 1 scales in steps and its classifier has no bias, as in
the authors' code, https://github.com/megvii-model/ShuffleNet-Series; its widths round up to a
multiple of the groups. Version 2 exists at its four published widths only.
"""

from functools import partial

from search_spaces.blocks.shuffle_v1 import ShuffleV1
from search_spaces.blocks.shuffle_v2 import ShuffleV2
from search_spaces.building.layer import Layer
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, MaxPool
from search_spaces.networks.parts import classify, image_input, stack, stem
from search_spaces.networks.registry import register_network

DEPTHS = (4, 8, 4)
V1_CHANNELS = {
    1: (144, 288, 576),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}
# Output channels of the three stages, then of the last convolution, by width.
V2_CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}


@register_network("shufflenet_v1")
def shufflenet_v1(
    width: float = 1.0,
    resolution: int = 224,
    num_classes: int = 1000,
    in_channels: int = 3,
    groups: int = 3,
) -> Graph:
    """Returns ShuffleNet v1: sixteen units of grouped pointwise convolutions and shuffles."""
    if groups not in V1_CHANNELS:
        known = ", ".join(map(str, V1_CHANNELS))
        raise UserError(f"shufflenet_v1: groups must be one of {known}, got {groups}")
    net = image_input(in_channels, resolution)
    x = stem(net, next_multiple(12 if width < 1 else 24 if width < 2 else 48, groups))
    x = net.add("max_pool", MaxPool((3, 3), (2, 2), (1, 1)), x)
    for index, (channels, depth) in enumerate(zip(V1_CHANNELS[groups], DEPTHS, strict=True), 2):
        out = next_multiple(channels * width, groups)
        layers = [
            (
                ShuffleV1(groups, group_first=(index, i) != (2, 0)),
                Layer(out, 2 if i == 0 else 1),
            )
            for i in range(depth)
        ]
        x = stack(net, x, f"stage{index}", layers)
    return classify(net, x, num_classes, bias=False)


for _groups in V1_CHANNELS:
    register_network(f"shufflenet_v1_g{_groups}")(partial(shufflenet_v1, groups=_groups))


@register_network("shufflenet_v2")
def shufflenet_v2(
    width: float = 1.0, resolution: int = 224, num_classes: int = 1000, in_channels: int = 3
) -> Graph:
    """Returns ShuffleNet v2: sixteen units that split, transform, concatenate and shuffle."""
    if width not in V2_CHANNELS:
        known = ", ".join(map(str, V2_CHANNELS))
        raise UserError(f"shufflenet_v2: width must be one of {known}, got {width}")
    *channels, last = V2_CHANNELS[width]
    net = image_input(in_channels, resolution)
    x = net.add("max_pool", MaxPool((3, 3), (2, 2), (1, 1)), stem(net, 24))
    for index, (out, depth) in enumerate(zip(channels, DEPTHS, strict=True), 2):
        layers = [(ShuffleV2(), Layer(out, 2 if i == 0 else 1)) for i in range(depth)]
        x = stack(net, x, f"stage{index}", layers)
    return classify(net, net.add("last", Conv2d(last), x), num_classes)


def next_multiple(channels: float, of: int) -> int:
    """Returns the smallest multiple of ``of`` that is not below ``channels``."""
    return -int(-channels // of) * of
