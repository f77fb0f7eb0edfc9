"""Images a second of training a ResNet-18 on 32x32 pixels, in one run.

    python benchmarks/training.py

torch's own loop, float32 and bfloat16, in both layouts of memory, is the limit; then
the package's, with augmentation and codes, as the profile ``resnet18`` trains. The
last lines say what share of a step the augmentation and the substitution of codes take.
Published, for those who have a GPU: 94 % on CIFAR-10 in 3.29 s on one A100, with
another network (Jordan 2024, arXiv 2404.00498; cifar10-airbench).
"""

import statistics
import time
from dataclasses import replace

import torch
from torch.nn.functional import cross_entropy

import mnemonic as mn

BATCH, STEPS = 128, 6
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def timed(call, repeats):
    """Median seconds of a call; the first one warms up."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        call()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def seconds_of_a_step(data, precision, layout):
    """Of torch's own loop: forward, backward and step on one batch."""
    model = mn.build_model("resnet18", data).train().to(DEVICE, memory_format=layout)
    images = data.images(data.train)[:BATCH].to(DEVICE, memory_format=layout)
    labels = data.train.labels[:BATCH].to(DEVICE)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=True
    )

    def step():
        optimizer.zero_grad()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bf16"):
            loss = cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    return timed(step, STEPS)


def main():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(BATCH * STEPS, 3, 32, 32, generator=generator)
    labels = torch.arange(len(pixels)) % 10
    part = (pixels, labels)
    data = mn.ImageData.from_arrays(
        train=part, validation=part, test=part, class_names=list("0123456789"),
        augmentation="crop-flip",
    )  # fmt: skip
    codes = mn.MnemonicCodes.draw(data)
    print(f"ResNet-18, batches of {BATCH}, on {mn.results.device_name()}")
    layouts = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}
    for precision in ("32", "bf16"):
        for name, layout in layouts.items():
            seconds = seconds_of_a_step(data, precision, layout)
            print(f"torch, {precision:>4}, {name:13}: {BATCH / seconds:7.0f} images/s")
        recipe = replace(mn.Profile.named("resnet18").recipe, epochs=1)
        recipe = replace(recipe, precision=precision)

        def epoch(recipe=recipe):
            model = mn.build_model("resnet18", data)
            how = {"recipe": recipe, "codes": codes, "t_mix": 0.3, "progress": False}
            return mn.train(model, data, **how).seconds

        epoch()  # warms up
        print(f"mnemonic.train, {precision:>4}       : {len(pixels) / epoch():7.0f}")

    def augmented():
        batches = data.batches(
            data.train, batch_size=BATCH, generator=generator, augment=True
        )
        for _ in batches:
            pass

    def substituted():
        codes.substitute(pixels[:BATCH], labels[:BATCH], 0.3, generator)

    for name, call, n in (
        ("augmentation", augmented, STEPS), ("substitution", substituted, 1)
    ):  # fmt: skip
        print(f"{name}: {100 * timed(call, 9) / n / seconds:.1f} % of the last step")


if __name__ == "__main__":
    main()
