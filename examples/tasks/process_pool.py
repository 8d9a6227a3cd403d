"""Several processes, a model in each: python process_pool.py FOLDER [BUNDLE]."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from sacvit_deploy import SACViT

model: SACViT


def open_model(bundle: list[str]) -> None:
    """Open the model of this process, with one thread: the processes share the cores."""
    global model
    model = SACViT(*bundle, threads=1)


def label(path: Path) -> str:
    return model.predict(path).label


if __name__ == "__main__":
    folder, *bundle = sys.argv[1:]
    paths = sorted(Path(folder).glob("*.jpg"))
    with ProcessPoolExecutor(2, get_context("spawn"), initializer=open_model, initargs=(bundle,)) as pool:
        for path, answer in zip(paths, pool.map(label, paths, chunksize=4), strict=True):
            print(f"{path.name}\t{answer}")
