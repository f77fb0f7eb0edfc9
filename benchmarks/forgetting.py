"""How long forgetting takes, beside what it is measured against, in one run.

    python benchmarks/forgetting.py

Times depend on the machine; the ratios, over the two Fishers that every step needs, are
what to compare between two commits. All take turns, so that a busy machine slows them
alike. The last lines give the share of a training step that goes into the substitution
of codes.
"""

import statistics
import time

import torch

import mnemonic as mn

REPEATS = 20
FISHERS = "the two Fishers"


def median_seconds(calls):
    """Median seconds of each call by name; all take turns."""
    times = {name: [] for name in calls}
    for _ in range(REPEATS + 1):  # the first warms up
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(each[1:]) for name, each in times.items()}


def substitution(name, shape, rounds):
    """Time a training step on 128 images beside its substitution of codes, in turns.

    Args:
        name: As ``build_model`` takes it.
        shape: Of an image.
        rounds: How often.

    Returns:
        Medians in milliseconds: of the step, from images that are cut and normalised
        to the new weights, and of the substitution within it.
    """
    labels, generator = torch.arange(128) % 10, torch.Generator().manual_seed(0)
    images = torch.rand(128, *shape, generator=generator)
    part = (images, labels)
    data = mn.ImageData.from_arrays(
        train=part, validation=part, test=part, class_names=list("0123456789")
    )
    codes, model = mn.MnemonicCodes.draw(data), mn.build_model(name, data).train()
    recipe = mn.Recipe()
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    times = []
    for _ in range(rounds + 1):  # the first warms up
        started = time.perf_counter()
        inputs = codes.substitute(images, labels, 0.1, generator)
        substituted = time.perf_counter()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        done = time.perf_counter()
        times.append((done - started, substituted - started))
    return [1000 * statistics.median(v) for v in zip(*times[1:], strict=True)]


def main():
    profile = mn.Profile.named("smoke")
    data = profile.load()
    model, codes = profile.trained(data, seed=0)
    c = profile.forget_class

    def one_epoch():
        network = mn.build_model(profile.model_name, data, seed=0)
        recipe = mn.Recipe(epochs=1)
        mn.train(network, data, recipe=recipe, codes=codes, t_mix=0.1, progress=False)

    def one_gradient():
        loss = torch.nn.functional.cross_entropy(model(codes.images), codes.labels)
        torch.autograd.grad(loss, list(model.parameters()))

    def two_fishers():
        forgets = codes.labels == c
        for part in (forgets, ~forgets):
            mn.diagonal_fisher(model, codes.images[part], codes.labels[part])

    calls = {
        "one gradient of all codes": one_gradient,
        FISHERS: two_fishers,
        "forget, strength given": lambda: mn.forget(
            model, codes, [c], strength=profile.strength
        ),
        "forget, strength chosen": lambda: mn.forget(model, codes, [c]),
        "one epoch of training": one_epoch,
    }
    seconds = median_seconds(calls)
    print(f"{mn.results.device_name()}, torch {torch.__version__}, n = {REPEATS}")
    for name, value in seconds.items():
        ratio = value / seconds[FISHERS]
        print(f"{name:28} {1000 * value:9.2f} ms {ratio:8.1f} ×")
    print("substitution of codes, of a training step on 128 images:")
    networks = (("mlp", (1, 28, 28), 200), ("resnet18", (3, 32, 32), 5))
    for name, shape, rounds in networks:
        step, part = substitution(name, shape, rounds)
        share = f"{part:9.2f} of {step:.2f} ms, {100 * part / step:.2f} %, n = {rounds}"
        print(f"{name:28} {share}")


if __name__ == "__main__":
    main()
