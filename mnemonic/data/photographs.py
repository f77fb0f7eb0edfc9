"""Sets of photographs, read from their files at 224 pixels.

None of them can be fetched by a program; where files are missing, the error says how
their authors give them.

Example:
    >>> try:
    ...     cub(Path("nowhere"), download=False)
    ... except FileNotFoundError as error:
    ...     print(error)
    cub is not here: looked for images.txt in ...
"""

from pathlib import Path

from mnemonic.data.arrays import ImageData
from mnemonic.data.originals import found_or_missing, missing
from mnemonic.data.splits import file_split

SIDE = 224  # pixels
# The paper uses 40 classes of CUB and 49 of Stanford Cars without saying which.
CUB_CLASSES, CARS_CLASSES = 40, 49
# Mean and deviation of ImageNet's pixels, as all use them: to read 190 GB takes hours.
CHANNELS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def cub(root: Path, download: bool) -> ImageData:
    """The first 40 classes of Caltech-UCSD Birds, as its tables have them."""
    folder = root / "CUB_200_2011"
    names = ("images", "image_class_labels", "train_test_split", "classes")
    tables = [folder / f"{name}.txt" for name in names]
    parts, files = {"1": "train", "0": "test"}, {"train": [], "test": []}
    try:
        images, labels, flags, classes = (
            dict(line.split() for line in path.read_text(encoding="utf-8").splitlines())
            for path in tables
        )
        names = [classes[str(c + 1)] for c in range(CUB_CLASSES)]
        for image in dict.fromkeys([*images, *labels, *flags]):
            row = (str(folder / "images" / images[image]), int(labels[image]) - 1)
            if row[1] < CUB_CLASSES:
                files[parts[flags[image]]].append(row)
    except FileNotFoundError as error:
        how = "unpacking the archive CUB_200_2011.tgz of its authors there"
        missing("cub", Path(error.filename).name, how, folder)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"a row of {', '.join(path.name for path in tables)} in {folder} is "
            f"missing or damaged ({error}); unpack the archive again"
        ) from error
    splits = {part: file_split(rows, SIDE) for part, rows in files.items()}
    return ImageData.from_splits("cub", names, splits, "crop-flip")


def stanford_cars(root: Path, download: bool) -> ImageData:
    """The first 49 classes of Stanford Cars."""
    from torchvision.datasets import StanfordCars

    what = "devkit, cars_train, cars_test and cars_test_annos_withlabels.mat"
    how = "laying out the files as torchvision.datasets.StanfordCars describes"
    splits = {}
    for part in ("train", "test"):
        with found_or_missing("stanford-cars", what, how, root / "stanford_cars"):
            whole = StanfordCars(root, split=part)
        names = whole.classes[:CARS_CLASSES]
        rows = [(path, int(y)) for path, y in whole._samples if y < len(names)]
        splits[part] = file_split(rows, SIDE)
    return ImageData.from_splits("stanford-cars", names, splits, "crop-flip")


def imagenet(root: Path, download: bool) -> ImageData:
    """ILSVRC2012; its validation images are the test split."""
    from torchvision.datasets import ImageNet

    how = "putting the archives of ILSVRC2012 there"
    splits = {}
    for part, split in (("train", "train"), ("test", "val")):
        what = f"the {split} images and the development kit"
        with found_or_missing("imagenet", what, how, root):
            whole = ImageNet(root, split=split)
        splits[part] = file_split(whole.samples, SIDE)
    names = [synonyms[0] for synonyms in whole.classes]
    return ImageData.from_splits("imagenet", names, splits, "crop-flip", *CHANNELS)
