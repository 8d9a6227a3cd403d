#!/usr/bin/env bash
# Installs the built package, builds the application against it, and runs both: test.sh BUILD BUNDLE IMAGE
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$1" --prefix "$work/prefix" --strip > /dev/null
test "$(stat -Lc %s "$work"/prefix/lib*/libsacvit.so "$work"/prefix/lib/*/libsacvit.so 2> /dev/null | sort -n | tail -1)" -lt 2000000
cmake -S "$(dirname "$0")/../../examples/embed" -B "$work/app" -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_BUILD_TYPE=Release > /dev/null
cmake --build "$work/app" > /dev/null
output=$("$work/app/app" "$2" "$3")
echo "$output"
grep -q "stage [12]" <<< "$output"
grep -q '"stage": 2' <<< "$output"
grep -q "error 1: none.jpg does not exist" <<< "$output"
"$work/prefix/bin/sacvit_infer" "$3" --bundle "$2" --json
