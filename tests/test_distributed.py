"""Several processes, by DDP on the CPU, take the steps that one process takes."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import json, sys
    import torch
    from lightning.fabric import Fabric
    from torch import nn
    import mnemonic as mn

    class Recorder(mn.MnemonicCodes):  # codes, as the training loop sees them
        def substitute(self, inputs, labels, t_mix, generator):
            mixed = super().substitute(inputs, labels, t_mix, generator)
            seen.append([float(v.double().sum()) for v in (self.images, mixed)])
            return mixed

    def run(fabric, folder):
        for augmentation in ("none", "crop-flip"):
            found = trained(fabric, augmentation)
            rank = f"{fabric.world_size}-{fabric.global_rank}"
            with open(f"{folder}/{augmentation} {rank}.json", "w") as f:
                json.dump(found, f)

    def trained(fabric, augmentation):
        # the last batch has one image: one process has nothing to do in it
        y = torch.arange(50) % 3
        x = torch.rand(50, 1, 6, 6, generator=torch.Generator().manual_seed(0))
        part = (x[:49], y[:49])
        data = mn.ImageData.from_arrays(
            train=part, validation=(x, y), test=(x, y), class_names=["a", "b", "c"],
            augmentation=augmentation,
        )
        drawn = mn.MnemonicCodes.draw(data)
        codes = Recorder(drawn.images, drawn.class_names, 0, "uniform")
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
        )
        # other first weights on every process: those of the first one count
        torch.manual_seed(fabric.global_rank)
        for p in model.parameters():
            nn.init.normal_(p, std=0.1)
        sizes = []
        model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
        seen.clear()
        history = mn.train(
            model, data, codes=codes, t_mix=0.5, fabric=fabric, progress=False,
            recipe=mn.Recipe(epochs=3, batch_size=16, learning_rate=0.1),
        )
        return {
            "losses": history.losses,
            "weights": torch.cat([p.flatten() for p in model.parameters()]).tolist(),
            "seen": seen,
            "sizes": sizes[1:],  # the first is the check of the outputs
            "training": model.training,
        }

    seen = []
    if __name__ == "__main__":
        for n, strategy in ((2, "ddp_fork"), (1, "auto")):  # imported once for all
            fabric = Fabric(accelerator="cpu", devices=n, strategy=strategy)
            fabric.launch(run, sys.argv[1])
"""


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """What one process, and each of two, left behind."""
    folder = tmp_path_factory.mktemp("ddp")
    script = folder / "script.py"
    script.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    made = subprocess.run(
        [sys.executable, str(script), str(folder)],
        env=env, capture_output=True, encoding="utf-8", timeout=300,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return {
        p.stem: json.loads(p.read_text(encoding="utf-8")) for p in folder.glob("*.json")
    }


@pytest.fixture(params=["none", "crop-flip"])
def found(everything, request):
    """The same, of one augmentation, by number of processes and rank."""
    named = {tuple(name.split()): value for name, value in everything.items()}
    return {rank: v for (kind, rank), v in named.items() if kind == request.param}


def test_two_processes_take_the_steps_of_one(found):
    assert set(found) == {"1-0", "2-0", "2-1"}
    for rank in ("2-0", "2-1"):
        assert found[rank]["weights"] == pytest.approx(
            found["1-0"]["weights"], abs=1e-5
        )
        assert found[rank]["losses"] == pytest.approx(found["1-0"]["losses"], rel=1e-5)
        assert not found[rank]["training"]
    assert found["1-0"]["losses"][2] < found["1-0"]["losses"][0]


def test_codes_and_their_places_are_the_same_on_all(found):
    assert found["2-0"]["seen"] == found["2-1"]["seen"] == found["1-0"]["seen"]
    assert len(found["1-0"]["seen"]) == 3 * 4


def test_images_are_augmented_where_it_is_asked(everything):
    assert everything["none 1-0"]["seen"] != everything["crop-flip 1-0"]["seen"]


def test_each_takes_its_share(found):
    assert found["1-0"]["sizes"] == [16, 16, 16, 1] * 3
    assert found["2-0"]["sizes"] == [8, 8, 8, 1] * 3
    assert found["2-1"]["sizes"] == [8, 8, 8, 0] * 3
