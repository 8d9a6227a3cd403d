"""A folder of images to a CSV file: python folder_to_csv.py FOLDER answers.csv [BUNDLE]."""

import csv
import sys
from pathlib import Path

from sacvit_deploy import Prediction, SACViT

folder, out, *bundle = sys.argv[1:]
paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))

with SACViT(*bundle) as model, open(out, "w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(["image", "label", "probability", "stage", "error"])
    for path, answer in zip(paths, model.stream(paths), strict=True):  # answers in the paths' order
        if isinstance(answer, Prediction):
            writer.writerow([path, answer.label, f"{answer.probability:.4f}", answer.stage, ""])
        else:  # a SacvitError: this image's alone
            writer.writerow([path, "", "", "", answer])
