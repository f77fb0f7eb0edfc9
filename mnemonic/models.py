"""The networks of the paper, a slim one for CPUs, and any of torchvision or timm.

Everything else in this package asks one thing of a network: inputs ``[N, C, H, W]``
give logits ``[N, K]``.

Example:
    >>> from mnemonic.sources import load_data
    >>> model = build_model("mlp", load_data("mnist-5k"), seed=0)
    >>> sum(p.numel() for p in model.parameters())
    795010
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, conv1x1

from mnemonic.checks import checked_seed
from mnemonic.chunks import Kept, is_out_of_memory
from mnemonic.data import ImageData, checked_data


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
    with seeded(seed):
        if not isinstance(name, str):
            raise ValueError(f"model {name!r} is no name; give one, such as 'mlp'")
        checked_data(data)
        if name == "mlp":
            model = _mlp(data)
        elif name == "slim-resnet":
            model = SlimResNet(data.input_shape[0], data.n_classes)
        elif name.startswith("timm/"):
            model = _timm(name.removeprefix("timm/"), data, pretrained)
        else:
            model = _torchvision(name, data, pretrained)
    if pretrained and name in ("mlp", "slim-resnet"):
        raise ValueError(
            f"there are no pretrained weights of {name!r}; leave pretrained at False"
        )
    check_outputs(model, torch.zeros(1, *data.input_shape), data.n_classes)
    return model


class SlimResNet(nn.Module):
    """A ResNet of three basic blocks with 16, 32 and 64 channels."""

    def __init__(self, channels: int, n_classes: int):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(
            BasicBlock(16, 16), _halving_block(16, 32), _halving_block(32, 64)
        )
        self.classifier = nn.Linear(64, n_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[N, K]`` of inputs ``[N, C, H, W]``."""
        return self.classifier(self.blocks(self.stem(inputs)).mean((2, 3)))


def _halving_block(channels: int, wider: int) -> BasicBlock:
    shortcut = nn.Sequential(conv1x1(channels, wider, 2), nn.BatchNorm2d(wider))
    return BasicBlock(channels, wider, stride=2, downsample=shortcut)


def _mlp(data: ImageData) -> nn.Module:
    channels, height, width = data.input_shape
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * height * width, 1000),
        nn.Sigmoid(),
        nn.Linear(1000, data.n_classes),
    )


def _torchvision(name: str, data: ImageData, pretrained: bool) -> nn.Module:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ValueError(
            f"unknown model {name!r}; choose 'mlp', 'slim-resnet', 'timm/<name>' or "
            f"one of torchvision's, such as 'resnet18' or 'vit_b_16'"
        )
    if not pretrained:
        model = torchvision.models.get_model(
            name, weights=None, num_classes=data.n_classes
        )
        channels, height, _ = data.input_shape
        if isinstance(model, torchvision.models.ResNet) and height < 64:
            # The 32×32 stem: a 7×7 stride and a pool would leave nothing to look at.
            width = model.conv1.out_channels
            model.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out")
            model.maxpool = nn.Identity()
        return model
    model = _pretrained(name)
    outputs = check_outputs(model, torch.zeros(1, *data.input_shape)).shape[1]
    if outputs == data.n_classes:
        return model
    heads = [
        (path, module)
        for path, module in model.named_modules()
        if type(module) is nn.Linear and module.out_features == outputs
    ]
    if not heads:
        raise ValueError(
            f"the {outputs} outputs of {name!r} are not those of a linear layer that "
            f"could give way to one of {data.n_classes}; take a network that ends in "
            "one, such as 'resnet18', or leave pretrained at False"
        )
    path, last = heads[-1]
    model.set_submodule(path, nn.Linear(last.in_features, data.n_classes))
    return model


def _pretrained(name: str) -> nn.Module:
    """A network of torchvision with its recommended weights."""
    try:
        return torchvision.models.get_model(name, weights="DEFAULT")
    except OSError as error:
        url = torchvision.models.get_model_weights(name).DEFAULT.url
        folder = Path(torch.hub.get_dir(), "checkpoints")
        raise OSError(
            f"no pretrained weights of {name!r}: not in {folder}, and {url} cannot be "
            f"read ({error}); put that file there, name another folder by TORCH_HOME, "
            "or leave pretrained at False"
        ) from error


def _timm(name: str, data: ImageData, pretrained: bool) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ValueError(
            f"timm/{name} needs the package timm: pip install timm"
        ) from error
    try:
        return timm.create_model(
            name,
            pretrained=pretrained,
            num_classes=data.n_classes,
            in_chans=data.input_shape[0],
        )
    except RuntimeError as error:
        raise ValueError(f"timm cannot build {name!r}: {error}") from error


def check_outputs(
    model: nn.Module,
    inputs: Tensor,
    n_classes: int | None = None,
    *,
    what: str = "inputs",
    gradients: bool = False,
) -> Tensor:
    """Make sure that the network maps ``[N, C, H, W]`` to finite logits ``[N, K]``.

    Where memory runs out, the error is that of torch or of the system.

    Args:
        model: Any classifier. It is run in evaluation mode.
        inputs: Inputs of shape ``[N, C, H, W]``, on the network's device.
        n_classes: ``K``, where it is known.
        what: Name of the inputs, for the error.
        gradients: Keep what a backward pass needs.

    Returns:
        The logits.

    Raises:
        ValueError: If it fails, or its output is not ``[N, K]`` or not finite.
    """
    _check_network(model)
    try:
        with evaluation_mode(model), torch.set_grad_enabled(gradients):
            logits = model(inputs)
    except Exception as error:  # whatever a layer raises at what it cannot take
        if is_out_of_memory(error):  # no fault of the inputs: fewer may do
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{type(model).__name__} cannot take {what} of shape "
            f"{list(inputs.shape)}: {reason}; give it {what} of the shape and type "
            "that it was built for, or build it for these"
        ) from error
    shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits)
    if (
        not isinstance(logits, Tensor)
        or logits.ndim != 2
        or shape != [len(inputs), n_classes or shape[1]]
    ):
        raise ValueError(
            f"{type(model).__name__} gives {shape} where logits [N, K] = "
            f"[{len(inputs)}, {n_classes or 'K'}] are needed; wrap it so that it "
            "returns one row of K logits an image"
        )
    if not torch.isfinite(logits).all():
        raise ValueError(
            f"{type(model).__name__} gives NaN or infinite logits; "
            "its weights are damaged or its training diverged: train it again, perhaps "
            "with a smaller learning rate"
            if torch.isfinite(inputs).all()
            else f"the {what} are NaN or infinite; give finite ones"
        )
    return logits


def bytes_of_one(model: nn.Module, inputs: Tensor) -> int:
    """Bytes that a forward pass of the first input keeps for backward."""
    with evaluation_mode(model), torch.enable_grad(), Kept() as kept:
        model(inputs[:1].clone())  # a view would count as all inputs
    return kept.besides(model)


def check_trainable(model: nn.Module) -> None:
    """Make sure that the network has a weight that may move."""
    _check_network(model)
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            f"{type(model).__name__} has no trainable weight; set requires_grad on the "
            "weights that may move"
        )


def check_loss(model: nn.Module, loss: Tensor) -> None:
    """Make sure that a loss can be differentiated by the weights."""
    if not loss.requires_grad:
        raise ValueError(
            f"the output of {type(model).__name__} is cut off from its weights; its "
            "forward must not detach, nor run under no_grad"
        )


def _check_network(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"the network is {model!r}; give a torch.nn.Module, such as "
            "build_model('mlp', data)"
        )
    if any(p.is_meta for p in model.parameters()):
        raise ValueError(
            f"{type(model).__name__} is on the meta device, without values; give it "
            "with its weights loaded on another"
        )


def last_layer(
    model: nn.Module, input_shape: tuple[int, int, int]
) -> tuple[str, nn.Linear]:
    """Find the linear layer whose outputs are the logits.

    By what it computes, not by its shape: a hidden layer may have K rows as well.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``.
        input_shape: ``(C, H, W)``.

    Returns:
        Its name within the network, and the layer.

    Raises:
        ValueError: If the logits come from something else.
    """
    _check_network(model)
    found: list[tuple[str, nn.Linear, Tensor]] = []
    handles = [
        layer.register_forward_hook(
            lambda _, __, output, name=name, layer=layer: found.append(
                (name, layer, output)
            )
        )
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    # Many random inputs: on a single one, a ReLU behind the layer may change nothing.
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(64, *input_shape, generator=generator).to(device_of(model))
    try:
        logits = check_outputs(model, probe)
    finally:
        for handle in handles:
            handle.remove()
    for name, layer, output in reversed(found):
        if output.shape == logits.shape and torch.equal(output, logits):
            return name, layer
    raise ValueError(
        f"the logits of {type(model).__name__} are not the output of a linear layer; "
        "this method works on the last linear layer: take another method, or a network "
        "that ends in one"
    )


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode and give each its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator, for code that knows no other, and restore it."""
    with torch.random.fork_rng():
        torch.manual_seed(checked_seed(seed))
        yield


def device_of(model: nn.Module) -> torch.device:
    """Where the network's first parameter is; the CPU for one without any."""
    _check_network(model)
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def double(values: Tensor) -> Tensor:
    """The values in float64; on the CPU where they are on an Apple GPU, without it."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given, so that a clock tells truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
