"""Train a translator on a folder of pairs, measure it and translate an image, from Python.

    python examples/train_and_translate.py

Without DATA it draws its own pairs: label maps of facades and their photos.
"""

import argparse
from pathlib import Path

from PIL import Image

import pix2pix
from pix2pix.synthetic.facades import facade, make_facades


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="folder of pairs; by default facades in WORK/facades")
    parser.add_argument("--work", type=Path, default=Path("runs/example"), help="folder for everything that is written")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--base-channels", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=4)
    chosen = parser.parse_args(arguments)

    # 1. Pairs: 100 images in train/, 12 in val/ and 12 in test/; photo left (A), label map right (B).
    data = chosen.data or chosen.work / "facades"
    if not data.exists():
        make_facades(data, train=100, val=12, test=12, size=chosen.image_size)

    # 2. Train from label map to photo. A second call resumes, or finds the run finished.
    run = pix2pix.train(
        data,
        run=chosen.work / "run",
        direction="BtoA",
        image_size=chosen.image_size,
        base_channels=chosen.base_channels,
        epochs=chosen.epochs,
        flip=False,  # the light of these facades comes from the left
    )

    # 3. Measure the test split; run.path/evaluation/test/report.html shows every output.
    measured = pix2pix.evaluate(run.path, data, split="test")
    print(f"test: l1 {measured.metrics['l1']:.4f}, ssim {measured.metrics['ssim']:.4f}")

    # 4. Translate a new label map. Images, arrays and tensors go in; the same kind and size comes out.
    translator = pix2pix.Translator.from_pretrained(run.path)
    _, label_map = facade(seed=10_000, size=chosen.image_size)
    photo = translator(Image.fromarray(label_map))
    photo.save(chosen.work / "photo.png")
    print(chosen.work / "photo.png")


if __name__ == "__main__":
    main()
