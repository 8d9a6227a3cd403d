#!/bin/sh
# Your own class names: sh own_labels.sh BUNDLE names.txt IMAGE. A line of names.txt for each class, in the model's order.
set -e
sacvit relabel "$1" --labels "$2"
sacvit-infer "$3" --bundle "$1"
