"""The check on a real GPU: the questions that matter, each in a process of its own, in a quarter of an hour.

    python -m sacvit_deploy.benchmarks.gpu_check prepare CARRIED        # with torch; no GPU, no network
    python -m sacvit_deploy.benchmarks.gpu_check run CARRIED --out OUT  # on the card; again where it was cut short
    python -m sacvit_deploy.benchmarks.gpu_check table OUT/gpu-check.json

docs/gpu-check.md says what the steps answer. **Not run on a GPU yet**; the tests run all of it on the CPU.
"""
