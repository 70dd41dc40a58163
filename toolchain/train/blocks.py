"""Networks of blocks, as ``[model.blocks]`` lists them."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from toolchain.config.blocks import Block, Blocks
from toolchain.train.maker import LayerMaker


class Residual(nn.Module):
    """Two convolutions and a shortcut (He et al., Deep Residual Learning), quantized for integer addition.

    Both operands of the add pass the same signed quantizer, so that they have one scale and the sum is an integer.
    With ``direct`` an input that is added as it is keeps its own scale: the engine has no pass for a quantizer alone.
    Convolutions alone read the result where it is not ``added``.
    Pruning may take the branch away: then the shortcut's convolution is all there is in front of the ReLU.
    """

    def __init__(
        self,
        make: LayerMaker,
        name: str,
        inputs: int,
        outputs: int,
        stride: int,
        kernel: int = 3,
        *,
        direct: bool = False,
        added: bool = True,
    ) -> None:
        super().__init__()
        padding = kernel // 2
        self.conv1 = make.conv(f"{name}.conv1", inputs, outputs, kernel, stride=stride, padding=padding)
        self.bn1 = make.norm(f"{name}.bn1", outputs)
        self.act1 = make.relu(f"{name}.act1")
        self.conv2 = make.conv(f"{name}.conv2", outputs, outputs, kernel, padding=padding)
        self.bn2 = make.norm(f"{name}.bn2", outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            conv = make.conv(f"{name}.shortcut.conv", inputs, outputs, 1, stride=stride)
            self.shortcut = nn.Sequential(OrderedDict(conv=conv, bn=make.norm(f"{name}.shortcut.bn", outputs)))
        self.direct = direct and isinstance(self.shortcut, nn.Identity)
        self.operand = make.signed(f"{name}.operand")
        self.act2 = make.relu(f"{name}.act2", added=added)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        if not self.has_branch:
            return self.act2(self.shortcut(x))  # type: ignore[no-any-return]
        branch = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        rest = x if self.direct else self.operand(self.shortcut(x))
        return self.act2(self.operand(branch) + rest)  # type: ignore[no-any-return]

    @property
    def has_branch(self) -> bool:
        """Whether there are two convolutions beside the shortcut."""
        return hasattr(self, "conv1")

    def drop_branch(self) -> None:
        """Leave the shortcut and the ReLU alone."""
        for name in ("conv1", "bn1", "act1", "conv2", "bn2", "operand"):
            delattr(self, name)


class Inverted(nn.Module):
    """An inverted residual (Sandler et al., MobileNetV2): expansion, depthwise convolution, linear projection.

    What leaves it is signed; a sum of it with its input is quantized again.
    """

    def __init__(self, make: LayerMaker, name: str, inputs: int, block: Block) -> None:
        super().__init__()
        inner = inputs * block.expansion
        self.expand: nn.Module = nn.Identity()
        if block.expansion > 1:
            conv = make.conv(f"{name}.expand.conv", inputs, inner, 1)
            act = make.relu(f"{name}.expand.act")
            self.expand = nn.Sequential(OrderedDict(conv=conv, bn=make.norm(f"{name}.expand.bn", inner), act=act))
        self.conv = make.conv(
            f"{name}.conv", inner, inner, block.kernel, stride=block.stride, padding=block.kernel // 2, groups=inner
        )
        self.bn1 = make.norm(f"{name}.bn1", inner)
        self.act = make.relu(f"{name}.act")
        self.project = make.conv(f"{name}.project", inner, block.channels, 1)
        self.bn2 = make.norm(f"{name}.bn2", block.channels)
        self.out = make.signed(f"{name}.out")
        self.sum: nn.Module | None = None
        if block.stride == 1 and inputs == block.channels:
            self.sum = make.signed(f"{name}.sum")

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, channels, H / stride, W / stride)."""
        inner = self.act(self.bn1(self.conv(self.expand(x))))
        branch = self.out(self.bn2(self.project(inner)))
        return branch if self.sum is None else self.sum(branch + x)  # type: ignore[no-any-return]


def block_layers(make: LayerMaker, shape: tuple[int, ...], classes: int, blocks: Blocks) -> OrderedDict[str, nn.Module]:
    """The layers of ``blocks`` for images of ``shape`` (C, H, W)."""
    channels, (height, columns) = blocks.stem, shape[1:]
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=make.conv("conv1", shape[0], channels, 3, stride=blocks.stem_stride, padding=1),
        bn1=make.norm("bn1", channels),
        act1=make.relu("act1", added=True),
    )
    strides = [blocks.stem_stride]
    for index, block in enumerate(blocks.block, 1):
        name = f"block{index}"
        if block.kind == "inverted":
            layers[name] = Inverted(make, name, channels, block)
        else:
            layers[name] = Residual(make, name, channels, block.channels, block.stride, block.kernel, direct=True)
        channels = block.channels
        strides.append(block.stride)
    if blocks.head:
        layers["conv2"] = make.conv("conv2", channels, blocks.head, 1)
        layers["bn2"] = make.norm("bn2", blocks.head)
        layers["act2"] = make.relu("act2")
        channels = blocks.head
    for stride in strides:
        height, columns = -(-height // stride), -(-columns // stride)
    layers["pool"] = nn.AvgPool2d((height, columns))
    positive = blocks.head or blocks.block[-1].kind == "residual"
    layers["mean"] = make.relu("mean", added=True) if positive else make.signed("mean")
    layers["flatten"] = nn.Flatten()
    layers["fc"] = make.linear("fc", channels, classes, bias=True)
    return layers
