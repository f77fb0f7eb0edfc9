"""The Fisher on codes beside its limit, the plain loop and other libraries, in one run.

    python benchmarks/fisher.py [--rounds 5] [--record] [NETWORK ...]

The limit is one batched forward and backward over the same codes, with nothing by
sample. All ways take turns, so that a busy machine slows them alike; with one thread
the clock is the process's own (CPU seconds), on a GPU it is the wall's. Ratios are what
to compare between two machines or two commits. A library that is not installed is left
out and named (``pip install -e .[bench]``). Before the clock starts, each way is
compared with the loop in float64, on a few codes.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial

import pandas as pd
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import mnemonic as mn
from mnemonic.forgetting.choice import try_strengths
from mnemonic.forgetting.strengths import GRID, Perturbation
from mnemonic.lab.scaling import peak_mib
from mnemonic.networks.running import synchronise

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mlp(k: int) -> nn.Module:
    layers = nn.Linear(784, 1000), nn.Sigmoid(), nn.Linear(1000, k)
    return nn.Sequential(nn.Flatten(), *layers)


def small_resnet18(k: int) -> nn.Module:
    model = torchvision.models.resnet18(num_classes=k)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return model


def vit_s(k: int) -> nn.Module:
    return torchvision.models.VisionTransformer(
        224, 16, 12, 6, 384, 1536, num_classes=k
    )


# Name: what builds it, input shape, K, and the number of codes compared in float64.
NETWORKS: dict[str, tuple[Callable[[int], nn.Module], tuple[int, ...], int, int]] = {
    "MLP 784-1000-10": (mlp, (1, 28, 28), 10, 10),
    "ResNet-18, 32×32": (small_resnet18, (3, 32, 32), 10, 10),
    "ResNet-18, 224×224": (torchvision.models.resnet18, (3, 224, 224), 100, 2),
    "ViT-S, 224×224": (vit_s, (3, 224, 224), 20, 2),
    "Swin-T, 224×224": (torchvision.models.swin_t, (3, 224, 224), 20, 2),
}
GROWTH = (10, 20, 40, 80)  # K, on the small ResNet-18

Fisher = dict[str, Tensor]


# Each way prepares a network of its own, off the clock, and gives what is clocked.


def limit(model: nn.Module) -> Callable:
    def run(x: Tensor, y: Tensor) -> None:
        loss = cross_entropy(model(x), y, reduction="sum")
        torch.autograd.grad(loss, list(model.parameters()))

    return run


def ours(model: nn.Module) -> Callable:
    return lambda x, y: mn.diagonal_fisher(model, x, y)


def loop(model: nn.Module) -> Callable:
    def run(x: Tensor, y: Tensor) -> Fisher:
        total = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
        for x_n, y_n in zip(x.split(1), y.split(1), strict=True):
            loss = cross_entropy(model(x_n), y_n)
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            for summed, g in zip(total.values(), gradients, strict=True):
                summed.addcmul_(g, g, value=1 / len(x))
        return total

    return run


def opacus(model: nn.Module) -> Callable:
    """It refuses layers with buffers and works in training mode: it gets less to do."""
    from opacus import GradSampleModule

    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(False)
        if isinstance(module, (nn.Dropout, torchvision.ops.StochasticDepth)):
            module.p = 0.0
    wrapped = GradSampleModule(model, loss_reduction="sum", strict=False)
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}

    def run(x: Tensor, y: Tensor) -> Fisher:
        wrapped.zero_grad(set_to_none=True)
        cross_entropy(wrapped(x), y, reduction="sum").backward()
        return {n: p.grad_sample.square().mean(0) for n, p in named.items()}

    return run


def backpack(model: nn.Module) -> Callable:
    from backpack import backpack, extend
    from backpack.extensions import SumGradSquared

    model = extend(model, use_converter=not isinstance(model, nn.Sequential))
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))

    def run(x: Tensor, y: Tensor) -> Fisher:
        model.zero_grad()
        with backpack(SumGradSquared()):
            loss(model(x), y).backward()
        return {n: p.sum_grad_squared / len(x) for n, p in model.named_parameters()}

    return run


def nngeometry(model: nn.Module) -> Callable:
    from nngeometry.backend import TorchHooksJacobianBackend
    from nngeometry.layercollection import LayerCollection
    from nngeometry.object import PMatDiag

    generator = TorchHooksJacobianBackend(
        model=model,
        function=lambda x, y: cross_entropy(model(x), y, reduction="none")[:, None],
        layer_collection=LayerCollection.from_model(model),
    )
    named = dict(model.named_parameters())

    def run(x: Tensor, y: Tensor) -> Fisher:
        loader = DataLoader(TensorDataset(x, y), batch_size=len(x))
        diagonal = PMatDiag(generator=generator, examples=loader).get_diag()
        pieces = diagonal.split([p.numel() for p in named.values()])
        return {n: v.view_as(named[n]) for n, v in zip(named, pieces, strict=True)}

    return run


def asdl(model: nn.Module) -> Callable:
    from asdl import FISHER_EMP, SHAPE_DIAG, FisherConfig, get_fisher_maker

    def run(x: Tensor, y: Tensor) -> Fisher:
        config = FisherConfig(FISHER_EMP, [SHAPE_DIAG], data_size=len(x))
        maker = get_fisher_maker(model, config)
        logits = maker.setup_model_call(model, x)
        maker.setup_loss_call(cross_entropy, logits, y, reduction="sum")
        maker.forward_and_backward()
        found = {}
        for name, module in model.named_modules():
            if fisher := getattr(module, "fisher", None):
                for kind in ("weight", "bias"):
                    value = getattr(fisher.diag, kind, None)
                    if value is not None:
                        found[f"{name}.{kind}"] = value.view_as(getattr(module, kind))
                del module.fisher
        return found

    return run


# The distributions that they come in.
LIBRARIES = {
    "opacus": (opacus, "opacus"),
    "BackPACK": (backpack, "backpack-for-pytorch"),
    "nngeometry": (nngeometry, "nngeometry"),
    "asdfghjkl": (asdl, "asdfghjkl"),
}


def installed() -> dict[str, Callable]:
    """Ours, the loop and the libraries that are here; says which are not."""
    ways = {"limit": limit, "mnemonic": ours, "loop": loop}
    for name, (way, distribution) in LIBRARIES.items():
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            print(f"without {name}: {distribution} is not installed", flush=True)
        else:
            ways[f"{name} {version}"] = way
    return ways


def error_of(
    way: Callable, model: nn.Module, x: Tensor, y: Tensor
) -> tuple[float, float]:
    """Compare with the loop, in float64.

    Args:
        way: What gives a Fisher.
        model: Any of the networks.
        x: Inputs.
        y: Labels.

    Returns:
        Largest relative difference of a parameter's Fisher, and the share of all
        weights that have one.
    """
    model, x = copy.deepcopy(model).double(), x.double()
    expected, found = loop(model)(x, y), way(copy.deepcopy(model))(x, y)
    scale = max(e.norm() for e in expected.values())  # some are 0, but for rounding
    errors = [
        float((v - expected[n]).norm() / expected[n].norm().clamp_min(1e-12 * scale))
        for n, v in found.items()
    ]
    weights = sum(v.numel() for v in expected.values())
    return max(errors), sum(v.numel() for v in found.values()) / weights


def clock() -> float:
    synchronise(DEVICE)
    alone = DEVICE.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time() if alone else time.perf_counter()


def seconds_of(call: Callable) -> float:
    started = clock()
    call()
    return clock() - started


def measured(
    name: str, k: int, ways: dict[str, Callable], rounds: int, n_compared: int
) -> list[dict]:
    """One row a way: seconds, ratio to the limit, memory, error."""
    build, shape, _, _ = NETWORKS[name]
    torch.manual_seed(0)
    model = build(k) if build in (mlp, small_resnet18, vit_s) else build(num_classes=k)
    model, x = model.to(DEVICE).eval(), torch.rand(k, *shape, device=DEVICE)
    y = torch.arange(k, device=DEVICE)
    errors, memory, runs = {}, {}, {}
    for label, way in ways.items():
        try:
            if label != "limit" and n_compared:
                few = x[:n_compared], y[:n_compared]
                errors[label] = error_of(way, model, *few)
            run = way(copy.deepcopy(model))
            memory[label] = peak_mib(lambda run=run: run(x, y), DEVICE)  # and warm up
            runs[label] = run
        except Exception as error:  # whatever a library makes of this network
            reason = (str(error) or type(error).__name__).splitlines()[0]
            print(f"{name}: {label} fails: {reason[:110]}", flush=True)
    times = {label: [] for label in runs}
    repeats = 60 if name.startswith("MLP") else 1
    for _ in range(rounds * repeats):
        for label, run in runs.items():
            times[label].append(seconds_of(lambda run=run: run(x, y)))
    rows, missing = [], (float("nan"), float("nan"))
    for label, values in times.items():
        ratios = [t / s for t, s in zip(values, times["limit"], strict=True)]
        rows.append(
            {
                "network": name,
                "k": k,
                "parameters": sum(p.numel() for p in model.parameters()),
                "way": label,
                "seconds": statistics.median(values),
                "ratio": min(values) / min(times["limit"]),
                "ratio_low": min(ratios),
                "ratio_high": max(ratios),
                "n": len(values),
                "peak_mib": memory[label],
                "relative_difference": errors.get(label, missing)[0],
                "share_of_weights": errors.get(label, missing)[1],
                "device": DEVICE.type,
                "threads": torch.get_num_threads(),
            }
        )
    fisher = rows[1]
    if n_compared and fisher["seconds"] < 1:  # 98 settings; larger ones take long
        rows.append(choice_of_strength(model, x, y, fisher, rounds))
    return rows


def choice_of_strength(
    model: nn.Module, x: Tensor, y: Tensor, fisher: dict, rounds: int
) -> dict:
    """Every λ1, λ2 and sign on the codes; its ratio is to our Fisher of all codes.

    The network learns its codes first: where it knows none, no setting does well, and
    few are given up early.

    Args:
        model: Left as it is.
        x: Codes.
        y: Their classes.
        fisher: The row of our Fisher.
        rounds: How often to measure, at most twice.

    Returns:
        A row of the table.
    """
    model = copy.deepcopy(model).train()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    model.eval()
    f_forget = mn.diagonal_fisher(model, x[:1], y[:1])
    f_remain = mn.diagonal_fisher(model, x[1:], y[1:])
    eta = {
        n: (f_forget[n].double() + 1e-30) / (f_remain[n].double() + 1e-30)
        for n in f_forget
    }
    pairs = []
    for _ in range(min(rounds, 2)):
        first = seconds_of(lambda: mn.diagonal_fisher(model, x, y))
        call = partial(
            try_strengths,
            Perturbation(model, eta),
            x,
            y,
            [0],
            GRID,
            (1, -1),
            give_up=True,
        )
        pairs.append((seconds_of(call), first))
    values, ours = zip(*pairs, strict=True)
    ratios = [v / f for v, f in pairs]
    return {
        **fisher,
        "way": "choice of strength, over our Fisher",
        "seconds": statistics.median(values),
        "ratio": min(values) / min(ours),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "n": len(values),
        "peak_mib": float("nan"),
        "relative_difference": float("nan"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help=f"some of: {', '.join(NETWORKS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", action="store_true", help="keep it in book/results")
    parser.add_argument("--k", type=int, help="instead of the K of each network")
    given = parser.parse_args()
    chosen = [n for n in NETWORKS if not given.networks or n in given.networks]
    warnings.simplefilter("ignore")  # of the libraries
    print(f"{mn.results.device_name()}, {torch.get_num_threads()} threads", flush=True)
    started, rows = clock(), []

    def keep(found: list[dict]) -> None:
        """Show them, and record what there is: an interrupted run keeps it."""
        rows.extend(found)
        print(pd.DataFrame(found)[SHOWN].to_string(index=False), flush=True)
        if given.record:
            about = (
                "the diagonal Fisher on K random codes, untrained networks, all ways "
                "in turn; ratio is that of the smallest times, to one batched forward "
                "and backward"
            )
            frame, seconds = pd.DataFrame(rows), clock() - started
            mn.results.record("fisher-speed", frame, about=about, seconds=seconds)

    for name in chosen:
        _, _, k, n_compared = NETWORKS[name]
        keep(measured(name, given.k or k, installed(), given.rounds, n_compared))
        if name == "ResNet-18, 32×32" and not given.k:
            ways = {"limit": limit, "mnemonic": ours}
            for k in GROWTH:
                found = measured(name, k, ways, given.rounds, 0)
                keep([{**row, "way": f"{row['way']}, growth"} for row in found])


SHOWN = ["network", "k", "way", "seconds", "ratio", "ratio_low", "ratio_high", "n",
         "peak_mib", "relative_difference", "share_of_weights"]  # fmt: skip

if __name__ == "__main__":
    main()
