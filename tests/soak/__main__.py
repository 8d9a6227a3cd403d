"""Hours of what happens to a server, in minutes: `python -m tests.soak --minutes 5`, or `make soak`.

One process answers from two threads, in single calls, batches and streams, for pictures of many formats and sizes and
for files that are none, while its bundle is replaced and reloaded, overwritten, cut short and deleted. Each answer must
be one bundle's or the other's, or the error that belongs to the file; memory, descriptors and threads must stay flat.
Prints a line for each part of the run and ends with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sacvit_deploy import SACViT
from sacvit_deploy.errors import BundleError, SacvitError
from tests.soak.answers import Table, WrongAnswer, answer_table, told_apart, whose
from tests.soak.bundles import point_at, write_other
from tests.soak.inputs import write_bad, write_good
from tests.soak.process import held

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "examples/int8/model.sacvit"
CLIENTS, PARTS = 2, 8
GROWTH = 24.0  # MB between the run's second quarter and its last, which allocators may keep
WARM_UP = 1.5  # minutes below which memory is still growing to what it stays at, and is not judged


class Soak:
    """One run: the model under test, its two bundles, their right answers, and what was counted."""

    def __init__(self, bundle: Path, folder: Path, options: dict[str, str | int]) -> None:
        self.folder, self.options = folder, options
        self.bundles = {"first": folder / "first.sacvit", "second": folder / "second.sacvit"}
        shutil.copytree(bundle, self.bundles["first"])
        write_other(bundle, self.bundles["second"])
        (folder / "in").mkdir()
        sources = sorted(path for path in (ROOT / "examples/pictures").iterdir() if path.suffix in (".jpg", ".png"))
        good = write_good(sources, folder / "in")
        self.inputs = [*good, *write_bad(sources, folder / "in")]
        self.tables: dict[str, Table] = {
            name: answer_table(SACViT(path, **options), self.inputs)  # type: ignore[arg-type]
            for name, path in self.bundles.items()
        }
        assert all(self.tables["first"][str(path)] is not None for path in good), "a good picture was refused"
        self.live = folder / "live.sacvit"
        point_at(self.live, self.bundles["first"])
        self.model = SACViT(self.live, **options)  # type: ignore[arg-type]
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.stop = threading.Event()

    def client(self, seed: int) -> None:
        """Ask in all ways, until told to stop; keep what was wrong."""
        rng = random.Random(seed)
        while not self.stop.is_set():
            sources = rng.choices(self.inputs, k=rng.choice((1, 1, 3, 12)))
            try:
                if rng.random() < 0.5:
                    answers = self.model.predict_batch(sources)
                else:
                    stream = self.model.stream(sources, batch_size=rng.choice((1, 4)), workers=rng.choice((1, 2)))
                    if rng.random() < 0.1:  # a client that leaves
                        next(stream)
                        stream.close()
                        self.counts["left"] += 1
                        continue
                    answers = list(stream)
                if len(answers) != len(sources):
                    raise WrongAnswer(f"{len(answers)} answers for {len(sources)} images")
                self.counts.update(whose(self.tables, *pair) for pair in zip(sources, answers, strict=True))
            except Exception as error:  # whatever it is, the run goes on and ends with 1
                self.wrong.append(f"{type(error).__name__}: {error}")

    def swap(self, rng: random.Random) -> None:
        """Replace the bundle by the other and take it, sometimes without taking it."""
        point_at(self.live, self.bundles[rng.choice(list(self.bundles))])
        if rng.random() < 0.8:
            self.model.reload()
            self.counts["reloads"] += 1

    def damage(self, rng: random.Random) -> None:
        """Overwrite, cut or delete the files of a bundle that is in use; taking it anew must be refused."""
        copy = self.folder / "copy.sacvit"
        shutil.copytree(self.bundles["first"], copy)
        point_at(self.live, copy)
        self.model.reload()
        weights = next(copy.glob("weights.*.bin"))
        kind = rng.choice(("zeros", "cut", "deleted", "emptied"))
        if kind == "zeros":
            with weights.open("r+b") as file:
                file.write(bytes(weights.stat().st_size))
        elif kind == "cut":
            with weights.open("r+b") as file:
                file.truncate(100)
        elif kind == "deleted":
            shutil.rmtree(copy)
        else:
            for path in copy.iterdir():
                path.write_bytes(b"")
        time.sleep(rng.random() / 4)  # the clients answer on
        try:
            self.model.reload()
        except BundleError:
            self.counts["refused reloads"] += 1
        else:
            self.wrong.append(f"a bundle whose weights were {kind} was taken")
        point_at(self.live, self.bundles["first"])
        shutil.rmtree(copy, ignore_errors=True)

    def run(self, minutes: float, say: Callable[[str], None]) -> bool:
        """Run for so long; return whether all was right."""
        rng = random.Random(1)
        say(f"{len(self.inputs)} inputs; the bundles differ on {told_apart(self.tables):.0%} of the pictures")
        clients = [threading.Thread(target=self.client, args=(seed,), daemon=True) for seed in range(CLIENTS)]
        for client in clients:
            client.start()
        seen = []
        for part in range(PARTS):
            end = time.monotonic() + 60 * minutes / PARTS
            while time.monotonic() < end:
                (self.damage if rng.random() < 0.3 else self.swap)(rng)
                time.sleep(0.05)
            now = held()
            seen.append(now)
            say(
                f"{part + 1}/{PARTS}  {sum(self.counts[name] for name in self.tables):,} answers"
                f"  {now.memory:.0f} MB  {now.descriptors} descriptors  {now.threads} threads  {len(self.wrong)} wrong"
            )
        self.stop.set()
        for client in clients:
            client.join(60)
        say(", ".join(f"{name} {count:,}" for name, count in sorted(self.counts.items())))
        for text, count in Counter(self.wrong).most_common(10):
            say(f"WRONG ({count} times): {text}")
        middle, last = seen[PARTS // 4 : PARTS // 2], seen[-PARTS // 4 :]
        grown = max(now.memory for now in last) - max(now.memory for now in middle)
        opened = max(now.descriptors for now in last) - max(now.descriptors for now in middle)
        judged = f"allowed {GROWTH:.0f}" if minutes >= WARM_UP else "not judged in so short a run"
        say(f"memory grew by {grown:.1f} MB ({judged}), descriptors by {opened}")
        hanging = sum(client.is_alive() for client in clients)
        if hanging:
            say(f"WRONG: {hanging} clients hang")
        flat = opened <= 2 and (grown <= GROWTH or minutes < WARM_UP)
        # A run in which a bundle or the error of a file never came up has shown nothing of it.
        met = all(self.counts[name] for name in (*self.tables, "error", "reloads", "refused reloads"))
        return not self.wrong and not hanging and flat and met


def main() -> int:
    """Run the soak. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--weights", default="packed")
    parser.add_argument("--precision", default="auto")
    given = parser.parse_args()
    options: dict[str, str | int] = {
        "backend": given.backend,
        "precision": given.precision,
        "weights": given.weights,
        "threads": 1,
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            soak = Soak(given.bundle, Path(folder), options)
        except SacvitError as error:
            print(f"Error: {error}", file=sys.stderr)
            return 2
        return 0 if soak.run(given.minutes, lambda text: print(text, flush=True)) else 1


if __name__ == "__main__":
    sys.exit(main())
