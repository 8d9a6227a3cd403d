#!/usr/bin/env bash
# Builds the C++ runtime for arm64 and runs its tests under qemu-user, on a Debian x86-64 machine. Compiler, emulator and
# libraries are unpacked into the build folder; nothing is installed.
#
#   arm64.sh PYTHON [BUILD]      PYTHON has sacvit_deploy[export] and ONNX Runtime, whose version for arm64 is fetched
set -euo pipefail
python=$1
build=$(realpath -m "${2:-build/arm64}")
here=$(cd "$(dirname "$0")" && pwd)
tools=$build/toolchain target=$build/sysroot triple=aarch64-linux-gnu
mkdir -p "$build"

if [ ! -e "$build/.fetched" ]; then
    gcc=$(apt-cache depends gcc-$triple | sed -n "s/.*Depends: gcc-\([0-9]*\)-$triple/\1/p")
    "$here/fetch_packages.sh" "$tools" {gcc,g++,cpp}-"$gcc"-$triple binutils-$triple libgcc-"$gcc"-dev-arm64-cross \
        libstdc++-"$gcc"-dev-arm64-cross libc6{,-dev}-arm64-cross linux-libc-dev-arm64-cross libgcc-s1-arm64-cross \
        libstdc++6-arm64-cross
    # An emulator that shows an arm64 processor in /proc/cpuinfo, which ONNX Runtime reads; Debian 12's does not.
    SUITE=trixie "$here/fetch_packages.sh" "$tools" qemu-user
    # The one place where the toolchain knows where it would have been installed.
    sed -i "s#/usr/$triple/lib/##g" "$tools/usr/$triple/lib/"lib{c,m}.so
    ARCH=arm64 "$here/fetch_packages.sh" "$target" libjpeg62-turbo{-dev,} libpng{-dev,16-16} zlib1g{-dev,} libssl{-dev,3}
    SUITE=trixie "$here/fetch_packages.sh" "$target" libonnxruntime-dev
    "$here/fetch_packages.sh" "$target" nlohmann-json3-dev
    version=$("$python" -c "import onnxruntime; print(onnxruntime.__version__)")
    tag=$("$python" -c "import sys; print('%d%d' % sys.version_info[:2])")
    "$python" -m pip download -q --no-deps --only-binary :all: --python-version "$tag" -d "$build" \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 "onnxruntime==$version"
    "$python" -m zipfile -e "$build"/onnxruntime-"$version"-*.whl "$build/wheel"
    echo "$gcc" > "$build/.fetched"
fi

gcc=$(cat "$build/.fetched")
cat > "$build/toolchain.cmake" << END
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER $tools/usr/bin/$triple-gcc-$gcc)
set(CMAKE_CXX_COMPILER $tools/usr/bin/$triple-g++-$gcc)
set(CMAKE_C_FLAGS_INIT "-isystem $target/usr/include/$triple -isystem $target/usr/include")
set(CMAKE_CXX_FLAGS_INIT "\${CMAKE_C_FLAGS_INIT}")
set(link "-L$target/usr/lib/$triple -Wl,-rpath-link,$target/usr/lib/$triple:$target/lib/$triple")
set(CMAKE_EXE_LINKER_FLAGS_INIT "\${link}")
set(CMAKE_SHARED_LINKER_FLAGS_INIT "\${link}")
set(CMAKE_FIND_ROOT_PATH $target)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_LIBRARY_ARCHITECTURE $triple)
set(CMAKE_CROSSCOMPILING_EMULATOR $tools/usr/bin/qemu-aarch64;-cpu;cortex-a76;-L;$tools/usr/$triple;-E;LD_LIBRARY_PATH=$tools/usr/$triple/lib:$target/usr/lib/$triple:$target/lib/$triple)
END
export LD_LIBRARY_PATH=$tools/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} PATH=$tools/usr/bin:$PATH
cmake -S "$here/.." -B "$build/cpp" -DCMAKE_TOOLCHAIN_FILE="$build/toolchain.cmake" -DSACVIT_PYTHON="$(realpath -s "$python")" \
    -DSACVIT_ORT_LIBRARY="$build/wheel/onnxruntime/capi" -DSACVIT_TOLERANCE=1e-4 -DSACVIT_THREAD_PICTURES=2 \
    -DSACVIT_GOLDEN_ARGUMENTS="--limit;2;--precisions;fp32"
cmake --build "$build/cpp" --parallel "${JOBS:-2}"
ctest --test-dir "$build/cpp" --output-on-failure "${@:3}"
