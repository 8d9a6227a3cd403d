#!/usr/bin/env bash
# Brings the headers that a build of cpp/ needs and the system lacks into a folder: dependencies.sh FOLDER.
# Configure with -DSACVIT_DEPS=FOLDER then. Exits with 3 where packages can't be had.
set -euo pipefail
folder=$1
here=$(cd "$(dirname "$0")" && pwd)

have() { echo "#include <$1>" | "${CXX:-c++}" -E -x c++ -I "$folder/usr/include" "${@:2}" - > /dev/null 2>&1; }

if ! have nlohmann/json.hpp; then "$here/fetch_packages.sh" "$folder" nlohmann-json3-dev; fi
# The oldest headers that the code builds with, so that one binary runs with every version since.
if [ -z "${ORT_ROOT:-}" ] && ! have onnxruntime_cxx_api.h -I "$folder/usr/include/onnxruntime" -I /usr/include/onnxruntime; then
    SUITE=trixie "$here/fetch_packages.sh" "$folder" libonnxruntime-dev
fi
missing=""
for library in jpeglib.h:libjpeg-dev png.h:libpng-dev zlib.h:zlib1g-dev openssl/evp.h:libssl-dev; do
    printf '#include <cstdio>\n#include <%s>\n' "${library%%:*}" | "${CXX:-c++}" -E -x c++ - > /dev/null 2>&1 ||
        missing="$missing ${library##*:}"
done
if [ -n "$missing" ]; then
    echo "dependencies.sh: not installed:$missing (apt-get install$missing)" >&2
    exit 3
fi
