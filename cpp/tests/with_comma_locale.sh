#!/usr/bin/env bash
# Runs a command where the locale de_DE.UTF-8 can be had, compiled into a temporary folder if the system lacks it:
# with_comma_locale.sh COMMAND...
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! locale -a 2> /dev/null | grep -qi '^de_DE\.utf-\?8$' &&
    localedef -i de_DE -f UTF-8 "$work/de_DE.UTF-8" > /dev/null 2>&1; then
    export LOCPATH=$work
fi
"$@"
