"""How long forgetting takes, beside what it is measured against, in one run.

    python benchmarks/forgetting.py

Times depend on the machine; the ratios are what to compare between two commits.
"""

import statistics
import time

import torch

import mnemonic as mn

REPEATS = 20


def median_seconds(call):
    call()  # warm up
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


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

    seconds = {
        "one gradient of all codes": median_seconds(one_gradient),
        "Fisher of all codes": median_seconds(
            lambda: mn.diagonal_fisher(model, codes.images, codes.labels)
        ),
        "forget, strength given": median_seconds(
            lambda: mn.forget(model, codes, [c], strength=profile.strength)
        ),
        "forget, strength chosen": median_seconds(lambda: mn.forget(model, codes, [c])),
        "one epoch of training": median_seconds(one_epoch),
    }
    print(f"{mn.results.device_name()}, torch {torch.__version__}, n = {REPEATS}")
    for name, value in seconds.items():
        ratio = value / seconds["one gradient of all codes"]
        print(f"{name:28} {1000 * value:9.2f} ms {ratio:8.1f} ×")


if __name__ == "__main__":
    main()
