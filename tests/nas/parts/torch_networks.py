"""Networks in plain torch, as people write them: narrow and small, each of a published kind."""

import warnings
from collections.abc import Callable
from io import BytesIO

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional


def norm_conv(
    inputs: int,
    outputs: int,
    size: int = 3,
    stride: int = 1,
    groups: int = 1,
    act: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), act())


class Residual(nn.Module):
    def __init__(self, inner: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.inner = inner
        self.shortcut = shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.inner(x) + self.shortcut(x))


class PreActivation(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(x))
        return self.conv2(functional.relu(self.bn2(self.conv1(y)))) + self.shortcut(y)


class DenseBlock(nn.Module):
    def __init__(self, inputs: int, growth: int, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(inputs + index * growth),
                nn.ReLU(),
                nn.Conv2d(inputs + index * growth, growth, 3, 1, 1, bias=False),
            )
            for index in range(count)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat((x, layer(x)), 1)
        return x


class Gate(nn.Module):
    """Squeeze and excitation by linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Linear(channels, 4), nn.Linear(4, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.reduce(x.mean((2, 3))))
        return x * functional.hardsigmoid(self.expand(y))[:, :, None, None]


class ConvGate(nn.Module):
    """Squeeze and excitation by convolutions, as EfficientNet has it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.adaptive_avg_pool2d(x, 1)
        return torch.sigmoid(self.expand(functional.silu(self.reduce(y)))) * x


class Inverted(nn.Module):
    def __init__(
        self, channels: int, expanded: int, gate: type[nn.Module], act: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        self.expand = norm_conv(channels, expanded, 1, act=act)
        self.filter = norm_conv(expanded, expanded, 5, groups=expanded, act=act)
        self.gate = gate(expanded)
        self.project = norm_conv(expanded, channels, 1, act=nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.gate(self.filter(self.expand(x))))


class RepVGG(nn.Module):
    """Three branches that are summed while it is trained."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide = norm_conv(channels, channels, 3, act=nn.Identity)
        self.narrow = norm_conv(channels, channels, 1, act=nn.Identity)
        self.identity = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.wide(x) + self.narrow(x) + self.identity(x))


class ShuffleUnit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            norm_conv(half, half, 1),
            norm_conv(half, half, 3, groups=half, act=nn.Identity),
            norm_conv(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        y = torch.cat((left, self.branch(right)), 1)
        batch, channels, height, width = y.shape
        y = y.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous()
        return y.view(batch, channels, height, width)


class ConvNeXt(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, 1, 3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand, self.project = (
            nn.Linear(channels, 4 * channels),
            nn.Linear(4 * channels, channels),
        )
        self.gamma = nn.Parameter(torch.full((channels,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.project(functional.gelu(self.expand(y)))
        return x + y.permute(0, 3, 1, 2)


class ShortcutA(nn.Module):
    """The shortcut without weights of CIFAR's ResNets."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))


def classifier(*body: nn.Module, channels: int) -> nn.Sequential:
    """Returns a trunk with a stem of 16 channels before it and a classifier behind."""
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(channels, 10))
    return nn.Sequential(norm_conv(3, 16), *body, *head)


def vgg() -> nn.Module:
    layers = (norm_conv(3, 8), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.LeakyReLU(0.1))
    return nn.Sequential(
        *layers,
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(972, 16),
        nn.BatchNorm1d(16),
        nn.ReLU6(),
        nn.Dropout(),
        nn.Linear(16, 10),
        nn.Softmax(1),
    )


def resnet() -> nn.Module:
    down = norm_conv(16, 24, 1, 2, act=nn.Identity)
    return classifier(
        Residual(nn.Sequential(norm_conv(16, 16), norm_conv(16, 16, act=nn.Identity))),
        Residual(nn.Sequential(norm_conv(16, 24, 3, 2), norm_conv(24, 24, act=nn.Identity)), down),
        channels=24,
    )


def resnet_a() -> nn.Module:
    inner = nn.Sequential(norm_conv(16, 24, 3, 2), norm_conv(24, 24, act=nn.Identity))
    return classifier(Residual(inner, ShortcutA()), channels=24)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "VGG": vgg,
    "ResNet": resnet,
    "ResNet, shortcut A": resnet_a,
    "pre-activation ResNet": lambda: classifier(
        PreActivation(16, 24, 2),
        PreActivation(24, 24, 1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        channels=24,
    ),
    "DenseNet": lambda: classifier(
        DenseBlock(16, 8, 3),
        nn.BatchNorm2d(40),
        nn.ReLU(),
        nn.Conv2d(40, 20, 1),
        nn.AvgPool2d(2),
        DenseBlock(20, 8, 2),
        nn.BatchNorm2d(36),
        nn.ReLU(),
        channels=36,
    ),
    "MobileNet v3": lambda: classifier(Inverted(16, 32, Gate, nn.Hardswish), channels=16),
    "EfficientNet": lambda: classifier(Inverted(16, 32, ConvGate, nn.SiLU), channels=16),
    "RepVGG": lambda: classifier(RepVGG(16), RepVGG(16), channels=16),
    "ShuffleNet v2": lambda: classifier(ShuffleUnit(16), ShuffleUnit(16), channels=16),
    "ConvNeXt": lambda: classifier(ConvNeXt(16), ConvNeXt(16), channels=16),
}


def trained_like(make: Callable[[], nn.Module]) -> nn.Module:
    """Returns a network in evaluation mode whose norms have statistics of a training."""
    torch.manual_seed(0)
    network = make().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
    return network


def traced(network: nn.Module, shape: tuple[int, int, int], opset: int = 17) -> onnx.ModelProto:
    """The export of torch's older exporter, which takes a hundredth of the time."""
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, *shape),),
            file,  # type: ignore[arg-type]  # it takes one, its annotation does not
            dynamo=False,
            opset_version=opset,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    return onnx.load_model_from_string(file.getvalue())
