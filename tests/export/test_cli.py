"""`sacvit-export` from outside: exit codes, one-line errors, signals, files left on disk."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from sacvit_deploy.bundle.bundle import MANIFEST, open_bundle
from sacvit_deploy.bundle.write import whole_folder
from sacvit_deploy.errors import ExportError, UsageError
from sacvit_deploy.export import cli
from sacvit_deploy.export.checkpoint import save_checkpoint
from tests.processes import start_process

from .conftest import Exported
from .making import config_of, deit_weights, lively_model

COMMAND = Path(sys.executable).with_name("sacvit-export")
CLASSES = 5


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def export(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Call the command's entry point in this process: a process of its own would load torch for seconds."""
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["sacvit-export", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, captured.out, captured.err)

    yield run
    signal.signal(signal.SIGTERM, handler)
    torch.set_num_threads(threads)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Write a tiny checkpoint, alone in a folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    path = folder / "model.safetensors"
    save_checkpoint(path, lively_model(config_of(64, width=64, heads=1, depth=1, classes=CLASSES)))
    return path


def assert_one_line(result: Result, code: int, match: str) -> None:
    assert result.code == code
    assert re.search(match, result.err), result.err
    assert "Traceback" not in result.err
    assert len([line for line in result.err.splitlines() if line.startswith("Error: ")]) == 1
    if code == 1:
        assert len(result.err.splitlines()) == 1


def listing(folder: Path) -> dict[str, bytes | None]:
    """Return every file below a folder, with its bytes."""
    paths = folder.rglob("*")
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


# Bad arguments and failed jobs.


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        (["--eta", "1.5"], 2, "eta is 1.5; it must lie between 0 and 1"),
        (["--eta", "-0.1"], 2, "eta is -0.1"),
        (["--eta", "nan"], 2, "eta is nan"),
        (["--eta", "half"], 2, "'half' is not a valid float"),
        (["--heads", "0"], 2, "0 is not in the range"),
        (["--threads", "0"], 2, "0 is not in the range"),
        (["--family", "resnet"], 2, "'resnet' is not one of"),
        (["--quick"], 2, "No such option"),
        (["--mean", "0.5,0.5"], 2, "is not three numbers"),
        (["--std", "0"], 2, "would divide by 0"),
        (["--crop", "2"], 2, "not in the range"),
        (["--interpolation", "lanczos"], 2, "is not one of"),
        (["--weights", "best"], 2, "is not one of"),
        (["stray.pth"], 2, "unexpected extra argument"),
        (["--out", "elsewhere"], 2, "--out elsewhere must end in .sacvit"),
        (["--out", "bundle.zip"], 2, "must end in .sacvit"),
        (["--labels", "missing.txt"], 1, "can't read labels from missing.txt"),
        (["--pictures", "nothing*.jpg"], 2, r"nothing matches nothing\*.jpg"),
        (["--heads", "5"], 1, "its config says 1 heads, not 5"),
        (["--family", "cf-vit"], 1, "this is a sac-vit checkpoint, not cf-vit"),
    ],
)
def test_bad_arguments_end_with_one_line(
    arguments: list[str], code: int, match: str, checkpoint: Path, export: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    assert_one_line(export("--ckpt", checkpoint, *arguments), code, match)
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_without_a_checkpoint_the_option_is_named(export: Run) -> None:
    assert_one_line(export(), 2, "Missing option '--ckpt'")


def test_help_shows_every_option(export: Run) -> None:
    shown = export("--help")
    assert shown.code == 0
    options = "ckpt out fp16 eta labels mean std crop interpolation weights pictures heads family trust-checkpoint"
    assert all(f"--{name}" in shown.out for name in options.split())


@pytest.mark.parametrize("where", [".", ".."])
def test_a_folder_for_a_checkpoint(where: str, export: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert_one_line(export("--ckpt", where), 1, "is a folder without weights")


def test_the_bundle_goes_beside_the_checkpoint_or_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vit.v2").mkdir()
    monkeypatch.chdir(tmp_path / "vit.v2")
    for ckpt, target in {
        "runs/model.v2.safetensors": Path("runs/model.v2.sacvit"),
        "model.pth.tar": Path("model.pth.sacvit"),
        "model.safetensors.index.json": Path("model.sacvit"),
        "../vit.v2": tmp_path / "vit.v2.sacvit",
        ".": tmp_path / "vit.v2.sacvit",
        "hf-hub:timm/vit_tiny.augreg": Path("vit_tiny.augreg.sacvit"),
        "hf-hub:timm/vit_tiny.augreg@v1.0": Path("vit_tiny.augreg.sacvit"),
    }.items():
        assert cli.default_target(ckpt) == target, ckpt
    for nameless in ("/", "hf-hub:", "hf-hub:timm/"):
        with pytest.raises(UsageError, match="gives the bundle no name; choose one with --out"):
            cli.default_target(nameless)


def test_a_checkpoint_that_is_none_leaves_nothing(export: Run, tmp_path: Path) -> None:
    path = tmp_path / "page.pth"
    path.write_text("<html>404</html>")
    assert_one_line(export("--ckpt", path), 1, "is a web page, not a checkpoint")
    assert_one_line(export("--ckpt", tmp_path / "missing.pth"), 1, "no checkpoint at")
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_with_code_names_the_option(export: Run, tmp_path: Path) -> None:
    class Maker:
        def __reduce__(self) -> object:
            return os.mkdir, (str(tmp_path / "marker"),)

    torch.save({"model": deit_weights(64, depth=1), "extra": Maker()}, tmp_path / "evil.pth")
    assert_one_line(export("--ckpt", tmp_path / "evil.pth"), 1, "--trust-checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pth"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a\nb\nc\n", "3 labels for 5 classes"),
        ("a\nb\nc\nd\ne\nf\n", "6 labels for 5 classes"),
        ("", "0 labels for 5 classes"),
        ("a\nb\n\nd\ne\n", "line 3 is empty; give each class one line"),
    ],
)
def test_labels_that_do_not_fit(text: str, match: str, checkpoint: Path, export: Run, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text(text)
    assert_one_line(export("--ckpt", checkpoint, "--labels", tmp_path / "labels.txt"), 1, match)
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_labels_that_are_no_text(checkpoint: Path, export: Run, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\x00")
    assert_one_line(export("--ckpt", checkpoint, "--labels", tmp_path / "labels.txt"), 1, "can't read labels from")


def test_images_that_are_none(checkpoint: Path, export: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    result = export("--ckpt", checkpoint, "--pictures", tmp_path / "broken.jpg")
    assert_one_line(result, 1, "broken.jpg is not an image")
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


# Places.


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' names of files are text")
def test_names_that_are_no_text(checkpoint: Path, export: Run) -> None:
    """Names of files may hold any bytes on Linux: those that libraries can't open are refused before the work."""
    odd = checkpoint.with_name(os.fsdecode(b"gro\xdf.safetensors"))
    checkpoint.rename(odd)
    assert_one_line(
        export("--ckpt", odd), 1, r"gro\\udcdf.sacvit holds bytes that are no text.*choose another with --out"
    )
    target = odd.with_name("out.sacvit")
    assert_one_line(export("--ckpt", odd, "--out", target), 1, r"gro\\udcdf.safetensors holds bytes.*; rename it")
    assert list(odd.parent.iterdir()) == [odd]


def test_settings_that_are_no_text_are_printed(export: Run, tmp_path: Path) -> None:
    torch.save(deit_weights(64, depth=1, classes=CLASSES), tmp_path / "net.pth")
    # Read with a note, after which the export stops at an image that is none.
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "Odd\\ud83d"}')
    result = export("--ckpt", tmp_path / "net.pth", "--pictures", tmp_path / "preprocessor_config.json")
    assert r"image_processor_type is Odd\ud83d, which is read as if" in result.out
    assert_one_line(result, 1, "is not an image")


@pytest.mark.parametrize("below", ["file/model.sacvit", "file/deeper/model.sacvit"])
def test_a_target_below_a_file(below: str, checkpoint: Path, export: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    assert_one_line(export("--ckpt", checkpoint, "--out", tmp_path / below), 1, "can't write .*model.sacvit")
    assert (tmp_path / "file").read_text() == "text"


def test_an_existing_bundle_is_refused_and_unchanged(checkpoint: Path, export: Run) -> None:
    target = checkpoint.with_suffix(".sacvit")
    target.mkdir()
    (target / MANIFEST).write_text("{}")
    before = listing(checkpoint.parent)
    assert_one_line(export("--ckpt", checkpoint), 1, "exists; say --force to replace it")
    assert listing(checkpoint.parent) == before


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("kind", ["folder", "empty folder", "file", "link to a folder"])
def test_what_is_no_bundle_is_never_touched(kind: str, force: list[str], checkpoint: Path, export: Run) -> None:
    target = checkpoint.with_suffix(".sacvit")
    if kind == "file":
        target.write_text("my diary")
    elif kind == "link to a folder":
        (checkpoint.parent / "elsewhere").mkdir()
        (checkpoint.parent / "elsewhere" / "diary.txt").write_text("my diary")
        target.symlink_to(checkpoint.parent / "elsewhere")
    else:
        target.mkdir()
        if kind == "folder":
            (target / "diary.txt").write_text("my diary")
    before = listing(checkpoint.parent)
    assert_one_line(export("--ckpt", checkpoint, *force), 1, "exists and is not a bundle")
    assert listing(checkpoint.parent) == before


def test_a_target_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "model.sacvit"
    with pytest.raises(ExportError), whole_folder(target, replace=False) as folder:
        (folder / "file").write_text("new")
        target.mkdir()
        (target / "diary.txt").write_text("my diary")
    assert listing(tmp_path) == {"model.sacvit": None, "model.sacvit/diary.txt": b"my diary"}


# Whole exports in processes of their own.


@dataclass(frozen=True)
class Finished:
    """Complete export by the command, over the remains of an older and a killed export."""

    folder: Path
    result: Result
    after_kill: list[str]


@pytest.fixture(scope="module")
def finished(plain: Exported, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("command")
    path = folder / "model.v2.safetensors"
    shutil.copy(plain.checkpoint, path)
    process = start(path)
    wait_for(lambda: any(entry.name.startswith(".") for entry in folder.iterdir()), process)
    process.kill()
    process.wait()
    after_kill = sorted(entry.name for entry in folder.iterdir())
    shutil.copytree(plain.bundle.path, folder / "model.v2.sacvit")
    (folder / "model.v2.sacvit" / "stale.txt").write_text("of the older export")
    (folder / "labels.txt").write_text("".join(f"Ding {number}\n" for number in range(10)), encoding="utf-8")
    arguments = ["--fp16", "--force", "--eta", "0.25", "--labels", str(folder / "labels.txt"), "--threads", "1"]
    process = start(path, *arguments)
    out, err = process.communicate(timeout=600)
    return Finished(folder, Result(process.returncode, out, err), after_kill)


def start(checkpoint: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the installed command in the root folder, with signals as in a shell."""
    return start_process(
        [str(COMMAND), "--ckpt", str(checkpoint), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(checkpoint.anchor),
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_export_leaves_no_folder_under_the_bundles_name(finished: Finished) -> None:
    hidden, visible = finished.after_kill
    assert visible == "model.v2.safetensors"
    assert re.fullmatch(r"\.model\.v2\.sacvit\.partial-\w+", hidden)


def test_the_next_export_succeeds_beside_the_checkpoint_and_tidies_up(finished: Finished) -> None:
    assert finished.result.code == 0
    assert finished.result.err == ""
    names = sorted(path.name for path in finished.folder.iterdir())
    assert names == ["labels.txt", "model.v2.sacvit", "model.v2.safetensors"]


def test_a_forced_export_replaces_the_whole_folder(finished: Finished) -> None:
    bundle = open_bundle(finished.folder / "model.v2.sacvit")
    listed = {entry.path for entry in bundle.entries()} | {MANIFEST}
    assert {path.name for path in bundle.path.iterdir()} == listed
    for precision in ("fp32", "fp16"):
        bundle.checked_files(precision)


def test_options_win_over_what_the_checkpoint_says(finished: Finished, plain: Exported) -> None:
    bundle = open_bundle(finished.folder / "model.v2.sacvit")
    assert (plain.bundle.manifest.eta, bundle.manifest.eta) == (0.625, 0.25)
    assert bundle.labels == tuple(f"Ding {number}" for number in range(10))
    assert bundle.manifest.name == "model.v2"
    assert bundle.manifest.provenance["checkpoint"] == "model.v2.safetensors"
    assert bundle.manifest.provenance["checkpoint_sha256"] == plain.bundle.manifest.provenance["checkpoint_sha256"]


def test_without_options_the_checkpoints_labels_and_eta_count(plain: Exported) -> None:
    assert plain.bundle.labels == tuple(f"thing {number}" for number in range(10))
    assert plain.bundle.manifest.eta == 0.625


def test_without_any_labels_classes_are_numbered(exports: Callable[[str], Exported]) -> None:
    assert exports("deit").bundle.labels == tuple(f"class {number}" for number in range(5))


def test_the_command_says_sizes_parity_and_what_to_do_next(finished: Finished) -> None:
    out, target = finished.result.out, finished.folder / "model.v2.sacvit"
    assert re.search(rf"wrote {re.escape(str(target))} \([\d.]+ MB: fp32, fp16\)", out)
    # Of fp32, fp16, and fp16 as laid out for a GPU.
    assert len(re.findall(r"largest error [\d.e-]+ of the largest logit", out)) == 3
    assert "identical targets" in out
    assert out.splitlines()[-1] == f"next: sacvit-infer PICTURE --bundle {target}"
    assert "\r" not in out


def test_the_same_checkpoint_gives_the_same_bytes_in_every_process(finished: Finished, plain: Exported) -> None:
    """Other process, other hash seed, other place, other number of the same name."""
    names = [f"{role}.{precision}.onnx" for role in ("ee", "sac", "deit") for precision in ("fp32", "fp16")]
    names += ["weights.fp32.bin", "weights.fp16.bin"]
    _, differing, missing = filecmp.cmpfiles(
        plain.bundle.path, finished.folder / "model.v2.sacvit", names, shallow=False
    )
    assert (differing, missing) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when", "number"),
    [
        ("loading", signal.SIGTERM),
        ("loading", signal.SIGINT),
        ("writing", signal.SIGTERM),
        ("writing", signal.SIGINT),
    ],
)
def test_a_terminated_export_leaves_only_the_checkpoint(when: str, number: signal.Signals, checkpoint: Path) -> None:
    folder = checkpoint.parent
    process = start(checkpoint)
    if when == "loading":
        assert process.stdout is not None
        assert process.stdout.readline().startswith("read ")
    else:
        wait_for(lambda: any(entry.name.startswith(".") for entry in folder.iterdir()), process)
        time.sleep(0.3)
    process.send_signal(number)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 128 + number
    assert list(folder.iterdir()) == [checkpoint]
    assert "Traceback" not in err
    assert err == f"Error: {'interrupted' if number == signal.SIGINT else 'terminated'}\n"


def test_a_terminated_replacement_leaves_the_older_bundle(checkpoint: Path, plain: Exported) -> None:
    folder, target = checkpoint.parent, checkpoint.with_suffix(".sacvit")
    shutil.copytree(plain.bundle.path, target)
    before = listing(folder)
    process = start(checkpoint, "--force")
    wait_for(lambda: any(entry.name.startswith(".") for entry in folder.iterdir()), process)
    process.terminate()
    process.communicate(timeout=600)
    assert process.returncode == 128 + signal.SIGTERM
    assert listing(folder) == before
