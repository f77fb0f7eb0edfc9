"""Give the playground its network, codes and test images.

The page does everything else in the browser. Beside it come a script that holds numbers
alone, since a page that is opened from a disk may load scripts but may not fetch, and
the files of ``book/playground``.
"""

import base64
import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import nn

import mnemonic as mn
from mnemonic.networks.running import seeded

DATA = "mnist-5k"
HIDDEN = 64  # all its weights in a quarter of a megabyte
SEED = 0
NAMES = {"w1": "1.weight", "b1": "1.bias", "w2": "3.weight", "b2": "3.bias"}


def network(profile):
    """The network in evaluation mode, its data and its codes; trained once."""
    P = mn.Profile.named(profile)
    data = mn.load_data(DATA)
    codes = mn.MnemonicCodes.draw(data, seed=SEED)
    with seeded(SEED):
        model = nn.Sequential(
            nn.Flatten(),
            nn.Linear(int(np.prod(data.input_shape)), HIDDEN),
            nn.Sigmoid(),
            nn.Linear(HIDDEN, data.n_classes),
        )
    mn.trained(
        model, data, recipe=P.recipe, codes=codes, t_mix=P.t_mix, seed=SEED,
        progress=False,
    )  # fmt: skip
    return model.cpu(), data, codes


def script(profile):
    """The text of ``data.js``: one assignment of plain numbers."""
    model, data, codes = network(profile)
    P, state = mn.Profile.named(profile), model.state_dict()
    content = {
        "profile": profile,
        "data": DATA,
        "epochs": P.recipe.epochs,
        "tMix": P.t_mix,
        "strength": [P.strength.lambda1, P.strength.lambda2],
        "mean": float(data.mean),
        "std": float(data.std),
        "weights": {name: floats(state[key]) for name, key in NAMES.items()},
        "codes": floats(codes.images),
        "images": text(b"".join(map(cropped, data.test.pixels[:, 0].numpy()))),
        "labels": text(data.test.labels.to(torch.uint8).numpy().tobytes()),
    }
    return f"globalThis.playgroundData = {json.dumps(content, indent=0)};\n"


def floats(tensor):
    return text(tensor.detach().numpy().astype("<f4").tobytes())


def text(octets):
    return base64.b64encode(octets).decode("ascii")


def cropped(image):
    """The box that holds the ink: top, left, height, width, then its pixels."""
    rows, columns = image.any(1).nonzero()[0], image.any(0).nonzero()[0]
    box = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return bytes([rows[0], columns[0], *box.shape]) + box.tobytes()


def write(app, exception):
    page = Path(app.outdir) / "book" / "playground.html"
    if exception or app.builder.name != "html" or not page.exists():
        return
    folder = page.with_suffix("")
    folder.mkdir(exist_ok=True)
    for file in (Path(app.srcdir) / "book" / "playground").iterdir():
        if file.suffix in (".js", ".css"):
            shutil.copy(file, folder)
    profile = os.environ.get("MNEMONIC_PROFILE", "quick")
    (folder / "data.js").write_text(script(profile), encoding="utf-8")


def setup(app):
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
