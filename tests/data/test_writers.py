"""Writers: Omniglot in its original layout, and writers who do not exist."""

import io
import zipfile

import pytest
import torch
from conftest import pass_for_originals
from PIL import Image

from mnemonic.data import originals, writers

CHARACTERS = {"Balinese": 2, "Greek": 1}


def write_omniglot(root, strokes=lambda alphabet, c, drawer: drawer):
    """Both sets, with Greek in each; drawer d of a character makes d strokes."""
    folder = root / "omniglot-small"
    folder.mkdir()
    for n, alphabets in ((1, ("Greek", "Balinese")), (2, ("Greek",))):
        for kind in ("images", "strokes"):
            name = f"{kind}_background_small{n}"
            with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
                archive.writestr(f"{name}/", "")
                archive.writestr(f"__MACOSX/{name}/Greek/character01/._1.txt", "x")
                for alphabet in alphabets:
                    for c in range(CHARACTERS[alphabet]):
                        for drawer in range(1, 6):
                            number = 100 * (alphabet == "Greek") + c
                            path = f"{name}/{alphabet}/character{c + 1:02}/"
                            path += f"{number:04}_{drawer:02}"
                            count = strokes(alphabet, c, drawer)
                            if kind == "strokes":
                                text = "START\n" + "1.0,-2.0,0\nBREAK\n" * count
                                archive.writestr(f"{path}.txt", text)
                            else:
                                image, file = (
                                    Image.new("1", (105, 105), 1),
                                    io.BytesIO(),
                                )
                                image.paste(0, (0, 0, 5 * drawer, 5))
                                image.save(file, "PNG")
                                archive.writestr(f"{path}.png", file.getvalue())
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    made = write_omniglot(tmp_path)
    pass_for_originals(monkeypatch, "omniglot-small", made.iterdir())
    return made


def test_a_sheet_is_one_drawer_of_one_alphabet(folder):
    drawn = writers.omniglot(folder.parent)
    assert len(drawn) == 15  # Greek once
    assert drawn.pixels.shape == (15, 1, 21, 21)
    assert torch.bincount(drawn.writers).tolist() == [2] * 5 + [1] * 5
    for pixels, label, writer in zip(
        drawn.pixels, drawn.labels, drawn.writers, strict=True
    ):
        drawer = int(writer) % 5 + 1
        assert int(label) == min(drawer, 4) - 1  # strokes
        assert pixels[0, 0].tolist() == [1.0] * drawer + [0.0] * (21 - drawer)
        assert float(pixels.sum()) == drawer  # ink is one


def test_missing_and_damaged_files_say_the_way_out(folder):
    file = folder / "strokes_background_small2.zip"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=r"small2\.zip is not the original file"):
        writers.omniglot(folder.parent)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"strokes_background_small2\.zip in"):
        writers.omniglot(folder.parent)


def test_what_is_missing_is_fetched_from_torchvisions_address(folder, monkeypatch):
    asked, missing = [], folder / "images_background_small1.zip"
    whole = missing.read_bytes()
    missing.unlink()

    def fetch(url, root):
        asked.append(url)
        missing.write_bytes(whole)

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fetch)
    assert len(writers.omniglot(folder.parent, download=True)) == 15
    (url,) = asked
    assert url.startswith("https://raw.githubusercontent.com/brendenlake/omniglot/")
    assert url.endswith("/python/images_background_small1.zip")

    def fail(url, root):
        raise OSError("no way out")

    missing.unlink()
    monkeypatch.setattr("torchvision.datasets.utils.download_url", fail)
    with pytest.raises(FileNotFoundError, match="no way out"):
        writers.omniglot(folder.parent, download=True)


def test_the_four_files_have_hashes():
    assert len(originals.SHA256["omniglot-small"]) == 4


def test_a_simulated_writer_has_one_hand_and_digits_of_his_own():
    drawn = writers.simulated_writers(30, each=40, seed=0)
    assert drawn.pixels.shape == (1200, 1, 28, 28)
    assert 0 <= drawn.pixels.min() < drawn.pixels.max() <= 1
    assert torch.bincount(drawn.writers).tolist() == [40] * 30
    assert torch.equal(
        drawn.pixels, writers.simulated_writers(30, each=40, seed=0).pixels
    )
    # Thickness is of the writer: ink differs more between sheets than chance allows.
    ink = drawn.pixels.mean((1, 2, 3)).view(30, 40)
    assert ink.mean(1).var() > 5 * (ink.var(1) / 40).mean()
    with pytest.raises(ValueError, match="at most 3500 digits"):
        writers.simulated_writers(100, each=36, seed=0)
