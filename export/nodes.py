"""Count the nodes of a bundle's engines: `python -m sacvit_deploy.export.nodes [BUNDLE]`.

On a GPU a node is a kernel or a few, and at small batches their launches are what takes time.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
import onnx

from sacvit_deploy.bundle.bundle import Bundle, check_file, open_bundle
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.commands.common import bundle_argument, run_command
from sacvit_deploy.console.tables import text_table
from sacvit_deploy.console.terminal import say

USUAL = 4  # kinds of nodes in the table


@click.command("nodes")
@bundle_argument
def command(bundle: Path | None) -> None:
    """Print the number of nodes of each engine of a BUNDLE, and the kinds there are most of."""
    counts = count_nodes(open_bundle(bundle or find_bundle()))
    kinds = [", ".join(f"{n} {kind}" for kind, n in nodes.most_common(USUAL)) for nodes in counts.values()]
    totals = [str(nodes.total()) for nodes in counts.values()]
    say(text_table([("engine", list(counts)), ("nodes", totals), ("most of all", kinds)], align="<><"))


def count_nodes(bundle: Bundle) -> dict[str, Counter[str]]:
    """Count the nodes of each engine by kind, by the engine's file. Raises BundleError for a damaged file."""
    counts = {}
    for variant in bundle.manifest.variants.values():
        for entry in variant.files.values():
            if entry.path.endswith(".onnx") and entry.path not in counts:
                check_file(bundle.path, entry)
                graph = onnx.load(bundle.path / entry.path, load_external_data=False).graph
                counts[entry.path] = Counter(node.op_type for node in graph.node)
    return counts


if __name__ == "__main__":
    run_command(command)
