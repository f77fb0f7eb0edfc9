"""Architectures by name: the paper's, a slim one for CPUs, torchvision's, timm's.

Everything else in this package asks one thing of a network: inputs ``[N, C, H, W]``
give logits ``[N, K]``.

Example:
    >>> from mnemonic.data.sources import load_data
    >>> model = build_model("mlp", load_data("mnist-5k"), seed=0)
    >>> sum(p.numel() for p in model.parameters())
    795010
"""

import math
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor, nn

from mnemonic.data.arrays import ImageData, checked_data
from mnemonic.networks.asked import check_outputs
from mnemonic.networks.running import seeded


def build_model(
    name: str, data: ImageData, *, seed: int = 0, pretrained: bool = False
) -> nn.Module:
    """Build a classifier for the classes and the input shape of ``data``.

    Args:
        name: ``"mlp"`` (the paper's 784-1000-10 with sigmoids), ``"slim-resnet"``
            (78,000 weights), ``"resnet18"`` (with the 3×3 stem where images are
            smaller than 64 pixels), any name that torchvision knows, or
            ``"timm/<name>"`` if timm is installed.
        data: Gives ``K`` and the input shape.
        seed: Of the initial weights.
        pretrained: Start from the weights that torchvision or timm recommends, with a
            fresh last layer unless theirs has ``K`` outputs. They are downloaded unless
            they are cached; an ``OSError`` says where they are looked for.

    Returns:
        The network, in training mode, on the CPU.

    Raises:
        ValueError: If the name is not known, or the network cannot take the images.
    """
    checked_data(data)
    if pretrained and name in ("mlp", "slim-resnet"):
        raise ValueError(
            f"there are no pretrained weights of {name!r}; leave pretrained at False"
        )
    with seeded(seed), torch.device("cpu"):
        if name == "mlp":
            model = nn.Sequential(
                nn.Flatten(),
                nn.Linear(math.prod(data.input_shape), 1000),
                nn.Sigmoid(),
                nn.Linear(1000, data.n_classes),
            )
        elif name == "slim-resnet":
            model = SlimResNet(data.input_shape[0], data.n_classes)
        elif str(name).startswith("timm/"):
            model = _timm(name.removeprefix("timm/"), data, pretrained)
        else:
            model = _torchvision(name, data, pretrained)
        check_outputs(model, torch.zeros(1, *data.input_shape), data.n_classes)
    return model


class SlimResNet(nn.Module):
    """A ResNet of three basic blocks with 16, 32 and 64 channels."""

    def __init__(self, channels: int, n_classes: int):
        from torchvision.models.resnet import BasicBlock  # takes a second to import

        def halving(channels: int, wider: int) -> nn.Module:
            shortcut = nn.Conv2d(channels, wider, 1, stride=2, bias=False)
            return BasicBlock(
                channels, wider, 2, nn.Sequential(shortcut, nn.BatchNorm2d(wider))
            )

        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(
            BasicBlock(16, 16), halving(16, 32), halving(32, 64)
        )
        self.classifier = nn.Linear(64, n_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[N, K]`` of inputs ``[N, C, H, W]``."""
        return self.classifier(self.blocks(self.stem(inputs)).mean((2, 3)))


def _torchvision(name: str, data: ImageData, pretrained: bool) -> nn.Module:
    from torchvision import models

    if name not in models.list_models(module=models):
        raise ValueError(
            f"unknown model {name!r}; choose 'mlp', 'slim-resnet', 'timm/<name>' or "
            f"one of torchvision's, such as 'resnet18' or 'vit_b_16'"
        )
    if pretrained:
        return _pretrained(name, data)
    # Auxiliary heads would give a tuple in training; torchvision draws their weights.
    heads = {"aux_logits": False, "init_weights": True}
    heads = heads if name in ("googlenet", "inception_v3") else {}
    model = models.get_model(name, weights=None, num_classes=data.n_classes, **heads)
    channels, height, _ = data.input_shape
    if isinstance(model, models.ResNet) and height < 64:
        # The 32×32 stem: a 7×7 stride and a pool would leave nothing to look at.
        width = model.conv1.out_channels
        model.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out")
        model.maxpool = nn.Identity()
    return model


def _pretrained(name: str, data: ImageData) -> nn.Module:
    """A network of torchvision with its recommended weights, and a last layer for K."""
    from torchvision import models

    try:
        model = models.get_model(name, weights="DEFAULT")
    except (OSError, RuntimeError, HTTPException) as error:  # a page of a proxy, too
        url = models.get_model_weights(name).DEFAULT.url
        folder = Path(torch.hub.get_dir(), "checkpoints")
        raise OSError(
            f"no pretrained weights of {name!r}: not in {folder}, and {url} cannot be "
            f"read ({error}); put that file there, name another folder by TORCH_HOME, "
            "or leave pretrained at False"
        ) from error
    outputs = check_outputs(model, torch.zeros(1, *data.input_shape)).shape[1]
    if outputs == data.n_classes:
        return model
    linear = {p: m for p, m in model.named_modules() if type(m) is nn.Linear}
    heads = [path for path, layer in linear.items() if layer.out_features == outputs]
    if not heads:
        raise ValueError(
            f"the {outputs} outputs of {name!r} are not those of a linear layer that "
            f"could give way to one of {data.n_classes}; take a network that ends in "
            "one, such as 'resnet18', or leave pretrained at False"
        )
    head = nn.Linear(linear[heads[-1]].in_features, data.n_classes)
    model.set_submodule(heads[-1], head)
    return model


def _timm(name: str, data: ImageData, pretrained: bool) -> nn.Module:
    try:
        import timm

        sizes = {"num_classes": data.n_classes, "in_chans": data.input_shape[0]}
        return timm.create_model(name, pretrained=pretrained, **sizes)
    except (ImportError, RuntimeError) as error:
        raise ValueError(
            f"timm/{name} cannot be built ({error}); pip install timm if it is not "
            "here, and choose one of timm.list_models()"
        ) from error
