"""Run steps in processes of their own, each within its limit and the call's, and keep every row as it comes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.steps import MARK, STEPS
from sacvit_deploy.errors import UsageError
from sacvit_deploy.files import whole_file

RECORD = "gpu-check.json"
# States in which a later call leaves a step alone; the others are of a call that ended too early.
ENDED = ("done", "not run", "failed", "stopped")
CUT_SHORT, NO_TIME = "cut short", "no time left"
LEAST = 5  # seconds that a step is begun with
MESSAGE = 400  # characters of an error's last line


class Record:
    """The check's JSON file: rewritten, whole, whenever there is something new."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / RECORD
        self.data: dict[str, Any] = {"kind": "sacvit-gpu-check", "steps": {}}
        if self.path.exists():
            self.data = json.loads(self.path.read_text(encoding="utf-8"))
        self.data.setdefault("commands", []).append(" ".join(command))
        self._lock = threading.Lock()

    def pending(self, names: Sequence[str]) -> list[str]:
        """Return the steps that have not ended by themselves, in order."""
        return [name for name in names if self.data["steps"].get(name, {}).get("state") not in ENDED]

    def check(self, settings: Mapping[str, Any]) -> None:
        """Note the settings of the call. Raises UsageError where earlier calls had others."""
        before = self.data.setdefault("settings", dict(settings))
        if before != settings:
            differing = ", ".join(
                f"{key} was {before.get(key)!r}" for key in settings if before.get(key) != settings[key]
            )
            raise UsageError(f"{self.path} is of other settings ({differing}); name another folder with --out")
        with self._lock:
            self._write()

    def set(self, name: str, **facts: Any) -> None:
        """Set facts of a step and write the file."""
        with self._lock:
            self.data["steps"].setdefault(name, {}).update(facts)
            self._write()

    def add(self, name: str, row: Mapping[str, Any]) -> None:
        """Add a row of a step and write the file."""
        with self._lock:
            self.data["steps"][name]["rows"].append(row)
            self._write()

    def _write(self) -> None:
        with whole_file(self.path) as partial:
            partial.write_text(json.dumps(self.data, indent=1) + "\n", encoding="utf-8")


def run_steps(
    names: Sequence[str],
    settings: Settings,
    record: Record,
    seconds: float,
    environment: Mapping[str, str],
    say: Callable[[str], object],
    limits: Mapping[str, float] | None = None,
) -> None:
    """Run the steps that have not ended yet, until the call's `seconds` are over.

    environment: of the steps' processes. limits: seconds by step, in place of their own. Raises UsageError for settings
    that are not those of the record.
    """
    end = time.monotonic() + seconds
    record.check(json.loads(settings.to_json()))
    for name in record.pending(names):
        left = end - time.monotonic()
        if left < LEAST:
            record.set(name, state=NO_TIME, rows=[])
            say(f"{name}: no time left in this call")
            continue
        own = (limits or {}).get(name, STEPS[name].limit)
        limit = min(left, own)
        start = time.monotonic()
        record.set(name, state=CUT_SHORT, limit=limit, rows=[])
        say(f"{name}: {STEPS[name].title}, at most {limit:.0f} s")
        facts = _run(name, settings, record, limit, environment)
        if facts["state"] == "stopped" and limit < own:
            facts["state"] = CUT_SHORT
        record.set(name, seconds=round(time.monotonic() - start, 1), **facts)
        rows = len(record.data["steps"][name]["rows"])
        reason = f": {facts['reason']}" if "reason" in facts else ""
        say(f"{name}: {facts['state']}, {rows} rows, {time.monotonic() - start:.1f} s{reason}")


def _run(name: str, settings: Settings, record: Record, limit: float, environment: Mapping[str, str]) -> dict[str, Any]:
    """Run one step to its end, or to its limit; returns its state and the reason."""
    command = [sys.executable, "-m", "sacvit_deploy.benchmarks.gpu_check.steps", name, settings.to_json()]
    log = record.path.parent / f"{name}.log"
    end: dict[str, Any] = {}
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**environment}, start_new_session=True
        )

        def listen() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(MARK):
                    message = json.loads(line.removeprefix(MARK))
                    if "row" in message:
                        record.add(name, message["row"])
                    else:
                        end.update(message)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            _ask_where(process)
            return {"state": "stopped", "reason": f"it was not done after {limit:.0f} s; {log.name} says where it was"}
        finally:
            _kill(process)  # what it started, too
            listener.join(10)
    if process.returncode == 0 and end:
        return {"state": end["end"]} | ({"reason": end["reason"]} if "reason" in end else {})
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
    said = next((line for line in lines if line.startswith("Fatal Python error")), lines[-1])
    return {"state": "failed", "reason": f"{_ending(process.returncode)}: {said[:MESSAGE]}"}


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _ask_where(process: subprocess.Popen[str]) -> None:
    """Let a step write the stacks of its threads into its log; needs no lock of Python's, which a hang may hold."""
    if hasattr(signal, "SIGUSR1"):
        process.send_signal(signal.SIGUSR1)
        time.sleep(1)


def _kill(process: subprocess.Popen[str]) -> None:
    """End a process and its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
