#!/usr/bin/env bash
# Runs the fuzz target on images alone, with so much address space in kB: fuzz_images.sh SPACE COUNT SEEDS FUZZ...
set -euo pipefail
space=$1 count=$2 seeds=$3
shift 3
ulimit -v "$space"
exec "$@" "${count}x" "$seeds"/*.image
