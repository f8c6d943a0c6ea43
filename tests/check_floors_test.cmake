# cmake -DCHECK=<check_floors.cmake> -DFOLDER=<scratch> -P check_floors_test.cmake
#
# Runs the check on small made-up trees: one that keeps the rules, and one tree for each way to break them.
cmake_minimum_required(VERSION 3.25)

# expect(file content pattern): with this file in the tree, the check's output matches the pattern; it
# fails unless the pattern is empty.
function(expect file content pattern)
  file(REMOVE_RECURSE ${FOLDER})
  file(WRITE ${FOLDER}/common/model/good.c
       "#include \"model/good.h\"\n\n#include <stdio.h>\n#include \"base/status.h\"\n#include \"math/gemm.h\"\n")
  file(WRITE ${FOLDER}/common/math/gemm.c "#include <blis.h>\n")
  file(WRITE ${FOLDER}/sim/main.c "#include \"round/round.h\"\n#include \"sim/commands.h\"\n")
  file(WRITE ${FOLDER}/${file} "${content}")
  execute_process(COMMAND ${CMAKE_COMMAND} -DROOT=${FOLDER} -P ${CHECK}
                  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(REGEX REPLACE "[ \n]+" " " output "${output}") # CMake wraps its messages
  if(pattern STREQUAL "")
    if(NOT result EQUAL 0)
      message(SEND_ERROR "a good tree was refused: ${output}")
    endif()
  elseif(result EQUAL 0 OR NOT "${output}" MATCHES "${pattern}")
    message(SEND_ERROR "${file} should fail with '${pattern}': ${result}, ${output}")
  endif()
endfunction()

expect(common/base/fine.c "/* nothing */\n" "")
expect(common/data/dataset.h "#include \"model/network.h\"\n" "")
expect(common/base/file.c "/* [a;b] */\n\n#include <zlib.h>\n" "")
expect(common/base/up.c "\n\n#include \"math/gemm.h\"\n" "common/base/up.c:3: .*base is on floor 0, math on 1")
expect(common/model/beside.h "  #  include \"quant/grid.h\"\n" "common/model/beside.h:1: .*only lower floors")
expect(common/data/dataset.c "#include \"model/network.h\"\n" "common/data/dataset.c:1: .*only lower floors")
expect(common/train/deep/x.c "#include \"round/round.h\"\n" "common/train/deep/x.c:1: ")
expect(sim/beside.c "#include \"server/roster.h\"\n" "sim/beside.c:1: .*only lower floors")
expect(common/eval/top.c "#include \"sim/main.h\"\n" "common/eval/top.c:1: .*only lower floors")
expect(common/eval/dots.c "#include \"../base/status.h\"\n" "common/eval/dots.c:1: .*without ..")
expect(common/eval/odd.c "#include \"cellar/x.h\"\n" "folder cellar has no floor")
expect(common/cellar/odd.c "int x;\n" "common/cellar/odd.c: folder cellar has no floor")
expect(common/model/door.c "int x;\n#include <blis.h>\n" "common/model/door.c:2: .*this library")
expect(sim/door.c "#include \"sqlite3.h\"\n" "sim/door.c:1: .*this library")
expect(common/train/door.c "#include <sodium/crypto_box.h>\n" "common/train/door.c:1: .*this library")
file(REMOVE_RECURSE ${FOLDER})
