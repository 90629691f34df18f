"""Figures: what others count for the published networks at width 1 and 1000 classes.

Parameters are those that papers and model collections print. MACs are those of the convolutions
and linear layers of the named implementation at 224x224 (Xception: 299x299), counted layer by
layer; papers print them rounded. The LeNets have 10 classes and 28x28 images.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figures:
    """Published size of a network.

    Attributes:
        params: Learned parameters.
        macs: Multiply-accumulates of one image; None where only a rounded figure is published.
        source: Who publishes them.
    """

    params: int
    macs: int | None
    source: str


TORCHVISION = "torchvision 0.29.2, https://docs.pytorch.org/vision/stable/models.html"
TIMM = "timm 1.0.31, https://github.com/huggingface/pytorch-image-models"
IMGCLSMOB = "osmr/imgclsmob, https://github.com/osmr/imgclsmob, model tables"
DEEP_COMPRESSION = "Han et al., Deep Compression, tables 2 and 3 (267 K and 431 K), and Caffe"

PUBLISHED: dict[str, Figures] = {
    "alexnet": Figures(61_100_840, 714_188_480, TORCHVISION),
    "ghostnet": Figures(5_182_508, 141_150_512, TIMM),
    "lenet_300_100": Figures(266_610, 266_200, DEEP_COMPRESSION),
    "lenet5": Figures(431_080, 2_293_000, DEEP_COMPRESSION),
    "mobilenet_v1": Figures(4_231_976, 568_740_352, TIMM),
    "mobilenet_v2": Figures(3_504_872, 300_774_272, TORCHVISION),
    "resnet18": Figures(11_689_512, 1_814_073_344, TORCHVISION),
    "resnet34": Figures(21_797_672, 3_663_761_408, TORCHVISION),
    "shufflenet_v1": Figures(1_865_728, None, IMGCLSMOB),
    "shufflenet_v1_g1": Figures(1_531_936, None, IMGCLSMOB),
    "shufflenet_v1_g2": Figures(1_733_848, None, IMGCLSMOB),
    "shufflenet_v1_g3": Figures(1_865_728, None, IMGCLSMOB),
    "shufflenet_v1_g4": Figures(1_968_344, None, IMGCLSMOB),
    "shufflenet_v1_g8": Figures(2_434_768, None, IMGCLSMOB),
    "shufflenet_v2": Figures(2_278_604, 144_907_992, TORCHVISION),
    "squeezenet_1_0": Figures(1_248_424, 818_924_576, TORCHVISION),
    "squeezenet_1_1": Figures(1_235_496, 349_151_936, TORCHVISION),
    "vgg16": Figures(138_357_544, 15_470_264_320, TORCHVISION),
    "xception": Figures(22_855_952, 8_357_403_496, TIMM),
}
