#!/bin/bash
# libfedq as somebody else uses it: installed, found by pkg-config and by CMake, linked, run.
# shellcheck disable=SC2154
. "$(dirname "$0")/lib.sh"
: "${FEDQ_CLIENT:?path of fedq-client}" "${FEDQ_BUILD:?the build folder}"
command -v cc >/dev/null && command -v pkg-config >/dev/null || skip "no compiler, or no pkg-config"

for component in libfedq libfedq-dev; do
    check "installs $component" cmake --install "$FEDQ_BUILD" --prefix "$work/prefix" --component $component
done
library=$(find prefix -name 'libfedq.so.*.*.*')
folder=$work/$(dirname "$library")
check "the library is there" [ -f "$library" ]
check "the header is there" [ -f prefix/include/fedq.h ]

# ---- what it shows and what it needs
nm -D --defined-only "$library" | awk '{print $3}' | sort >shown
check "it shows functions of fedq_ alone" [ "$(grep -vc '^fedq_[a-z_]*@@FEDQ_1$' shown)" -eq 1 ] # FEDQ_1 itself
check "it shows all that the header declares" \
    diff <(grep -o 'fedq_[a-z_]*@' shown | tr -d @ | sort -u) \
    <(grep -oE '\bfedq_[a-z_]+\(' prefix/include/fedq.h | tr -d '(' | sort -u | grep -v '^fedq_run_bytes_$')
nm -D --undefined-only "$library" | awk '{print $2}' | sed 's/@.*//' >needed
check "it does not end the process" [ "$(grep -cxE 'exit|_exit|_Exit|quick_exit|abort|raise|kill' needed)" -eq 0 ]
check "it does not print" [ "$(grep -cxE 'printf|puts|fwrite|fputs|fprintf|perror|syslog' needed)" -eq 0 ]
check "it needs no library but libc, libm and zlib" \
    [ "$(readelf -d "$library" | grep NEEDED | grep -cvE 'libc\.so|libm\.so|libz\.so|ld-linux')" -eq 0 ]

# ---- a model
cat >synthetic.yaml <<'END'
name: synthetic
data: {set: synthetic, clients: 20, features: 30, classes: 5, examples: 50, test_examples: 100}
model: mlp
train: {rounds: 3, clients_per_round: 5}
evaluate: {every: 100, weights: [32]}
END
call run synthetic.yaml --out run --quiet
check "training" [ "$code" -eq 0 ]
call export run --bits 4 -o m4.fq
check "export" [ "$code" -eq 0 ]
head -c $((30 * 40)) "$FEDQ_SOURCE/LICENSE" >pictures.bin

# ---- the example, by pkg-config
export PKG_CONFIG_PATH=$folder/pkgconfig LD_LIBRARY_PATH=$folder
# shellcheck disable=SC2046
check "it compiles by pkg-config" cc -std=c11 -Wall -Wextra -Werror "$FEDQ_SOURCE/examples/classify.c" \
    $(pkg-config --cflags --libs fedq) -o classify
check "pkg-config knows the version" [ "$(pkg-config --modversion fedq)" = "$("$FEDQ_CLIENT" --version | awk '{print $2; exit}')" ]
for model in m4.fq run/model.fq; do
    ./classify $model pictures.bin >classes 2>note
    check "classify $model" [ $? -eq 0 ]
    "$FEDQ_CLIENT" infer $model pictures.bin | cut -d' ' -f1 >expected
    check "classify $model says what fedq-client infer says" cmp -s classes expected
    check "40 classes" [ "$(wc -l <classes)" -eq 40 ]
done
./classify m4.fq pictures.bin 2>note >/dev/null
check "it runs in integers" grep -q 'integer arithmetic' note
./classify pictures.bin pictures.bin >/dev/null 2>note
check "no model" [ $? -eq 1 ]
check "no model: the reason" grep -q 'pictures.bin: this is not a model file' note

# ---- from C++ and from CMake
if command -v c++ >/dev/null; then
    printf '#include <fedq.h>\n#include <cstdio>\nint main() { std::puts(fedq_version()); }\n' >version.cc
    # shellcheck disable=SC2046
    check "the header is C++" c++ -Wall -Werror version.cc $(pkg-config --cflags --libs fedq) -o version
fi
mkdir project
cp "$FEDQ_SOURCE/examples/classify.c" project/
cat >project/CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.13)
project(user C)
find_package(fedq 0.1 REQUIRED)
add_executable(classify classify.c)
target_link_libraries(classify PRIVATE fedq::fedq)
END
check "CMake finds it" cmake -S project -B project/build -DCMAKE_PREFIX_PATH="$work/prefix"
check "CMake builds with it" cmake --build project/build
project/build/classify m4.fq pictures.bin >classes 2>/dev/null
"$FEDQ_CLIENT" infer m4.fq pictures.bin | cut -d' ' -f1 >expected
check "it runs" cmp -s classes expected
finish
