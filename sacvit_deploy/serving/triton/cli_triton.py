"""`sacvit triton`: a bundle as a model repository for NVIDIA Triton."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from sacvit_deploy.backends.choose import choose_precision
from sacvit_deploy.bundle.bundle import Bundle, open_bundle, read_steadily
from sacvit_deploy.bundle.write import whole_folder
from sacvit_deploy.commands.common import alpha_option, max_memory_option, max_pixels_option
from sacvit_deploy.commands.pack import folder_size
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.terminal import say
from sacvit_deploy.contract import STAGES
from sacvit_deploy.errors import UsageError
from sacvit_deploy.precisions import PRECISIONS
from sacvit_deploy.serving.triton.layout import CASCADE, CONFIG
from sacvit_deploy.serving.triton.model_config import FILES, Serving
from sacvit_deploy.serving.triton.repository import RepositoryRequest, write_repository

count_option = click.IntRange(min=1, max=1024)
delay_option = click.FloatRange(0, 1)


@click.command("triton", cls=StrictCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Model repository to write.")
@click.option("--backend", type=click.Choice(list(FILES)), default="onnxruntime", show_default=True,
              help="Triton's backend for the engines; tensorrt takes the bundle's plans.")  # fmt: skip
@click.option(
    "--precision", type=click.Choice(list(PRECISIONS)), help="Variant.  [default: as on this CPU; fp16 on GPUs]"
)
@click.option("--gpu", is_flag=True, help="Place the engines on the GPUs; --backend tensorrt does so by itself.")
@click.option("--plans", help="Folder name of the plans to take, where the bundle has several of a precision.")
@click.option("--batch", type=count_option, default=32, show_default=True, help="Largest batch of each model.")
@click.option("--instances-ee", type=count_option, default=1, show_default=True, help="Instances of `ee`.")
@click.option("--instances-sac", type=count_option, default=1, show_default=True, help="Instances of `sac`.")
@click.option("--instances", type=count_option, default=2, show_default=True,
              help="Instances of `sacvit`: while one waits for stage 2, another runs stage 1.")  # fmt: skip
@click.option("--delay-ee", type=delay_option, default=0.001, show_default=True, help="Seconds to wait for a batch.")
@click.option("--delay-sac", type=delay_option, default=0.002, show_default=True, help="The same before stage 2.")
@click.option("--threads", type=count_option, default=1, show_default=True, help="CPU threads of an engine's call.")
@click.option("--max-queue", type=click.IntRange(1), default=256, show_default=True,
              help="Requests that may wait for `sacvit`; beyond them UNAVAILABLE, by HTTP 503.")  # fmt: skip
@max_pixels_option
@max_memory_option
@click.option("--eta", type=float, help="For requests that name none.  [default: the variant's]")
@alpha_option
@click.option("--force", is_flag=True, help="Replace an existing repository of this command.")
def command(
    bundle: Path,
    out: Path,
    backend: str,
    precision: str | None,
    gpu: bool,
    plans: str | None,
    batch: int,
    instances_ee: int,
    instances_sac: int,
    instances: int,
    delay_ee: float,
    delay_sac: float,
    threads: int,
    max_queue: int,
    max_pixels: int | None,
    max_memory: int | None,
    eta: float | None,
    alpha: float | None,
    force: bool,
) -> None:
    """Write a model repository for NVIDIA Triton from a BUNDLE: the models ee, sac and sacvit, which clients call.

    `sacvit` runs in Triton's Python backend, where sacvit-deploy must be installed; so do the engines with
    --backend python, and that needs onnxruntime there.
    """
    gpu = gpu or backend == "tensorrt"
    if gpu and backend == "python":
        raise UsageError("--backend python runs the engines on the CPU; take onnxruntime or tensorrt for --gpu")
    if plans is not None and backend != "tensorrt":
        raise UsageError("--plans is for --backend tensorrt")
    chosen = precision or choose_precision(list(open_bundle(bundle).manifest.variants), "cuda" if gpu else "cpu")[0]
    stage = Serving(backend, batch, 1, 0.0, gpu, threads)
    request = RepositoryRequest(
        chosen,
        ee=replace(stage, instances=instances_ee, delay=delay_ee),
        sac=replace(stage, instances=instances_sac, delay=delay_sac),
        cascade=Serving("python", batch, instances, delay_ee, queue=max_queue),
        eta=eta,
        alpha=alpha,
        plans=plans,
        max_pixels=max_pixels,
        max_memory=max_memory,
    )
    with whole_folder(out, replace=force, mark=f"{CASCADE}/{CONFIG}", kind="model repository") as folder:

        def write(opened: Bundle) -> RepositoryRequest:
            return write_repository(opened, request, folder)

        written = read_steadily(bundle, write)
    say(f"wrote {out}: {', '.join((*STAGES, CASCADE))} ({chosen}, {backend}), {folder_size(out) / 1e6:.1f} MB")
    if written.ee.batch < batch:
        say(f"batches of up to {written.ee.batch}: the plans take no more")
    if backend != "python":
        say(f"not run: there is no Triton with the {backend} backend here. Try it there with examples/triton_client.py")
