# cmake -DROOT=<tree> -P check_floors.cmake
#
# Reads the #include lines of common/, sim/, server/, client/ and lib/. A folder includes itself and folders on
# lower floors; an outside library is included only by its door. Names file, line and reason of whatever
# does otherwise, and fails.
cmake_minimum_required(VERSION 3.25)

set(floor_base 0)
set(floor_math 1)
foreach(folder program model quant data)
  set(floor_${folder} 2)
endforeach()
foreach(folder algo robust infer)
  set(floor_${folder} 3)
endforeach()
set(floor_protocol 4)
foreach(folder train round wire eval)
  set(floor_${folder} 5)
endforeach()
foreach(folder store experiment)
  set(floor_${folder} 6)
endforeach()
foreach(folder report run)
  set(floor_${folder} 7)
endforeach()
foreach(folder sim server client lib)
  set(floor_${folder} 8)
endforeach()

# "file includes header" pairs that may break the rule, each with its reason.
set(exceptions
  "common/data/dataset.h model/network.h") # fq_shape: what a data set gives is what a network takes

# Header, as a regular expression, and the files that may include it.
set(doors
  "^(cblas|blis)\\.h$"          "^common/math/gemm\\.c$"
  "^sodium(\\.h$|/)"            "^common/(base/hash|wire/seal|wire/keys)\\.c$"
  "^zlib\\.h$"                  "^common/base/file\\.c$"
  "^yaml\\.h$"                  "^common/base/document\\.c$"
  "^(zstd.*|zdict)\\.h$"        "^common/quant/entropy\\.c$"
  "^jansson\\.h$"               "^(common/data/leaf\\.c$|common/report/|sim/|server/)"
  "^sqlite3\\.h$"               "^common/store/store\\.c$"
  "^c?zmq\\.h$"                 "^common/wire/zmq\\.c$"
  "^protobuf-c(\\.h$|/)"        "^common/wire/wire_impl\\.h$"
  "\\.pb-c\\.h$"                "^common/wire/wire_impl\\.h$"
  "^microhttpd\\.h$"            "^server/http\\.c$"
  "^mpi\\.h$"                   "^sim/"
  "^CUnit/"                     "^$")

set(failures 0)

# Report `reason` at the line of `file` that holds `text`.
function(complain file text reason)
  file(READ ${ROOT}/${file} content)
  string(FIND "${content}" "${text}" position)
  string(SUBSTRING "${content}" 0 ${position} before)
  string(REGEX MATCHALL "\n" newlines "${before}")
  list(LENGTH newlines line)
  math(EXPR line "${line} + 1")
  message(SEND_ERROR "${file}:${line}: ${text}: ${reason}")
  math(EXPR failures "${failures} + 1")
  set(failures ${failures} PARENT_SCOPE)
endfunction()

macro(check_floor file folder text header)
  string(REGEX REPLACE "/.*" "" to "${header}")
  if("${header}" MATCHES "\\.\\./")
    complain(${file} "${text}" "write includes from common/ or the top, without ..")
  elseif("${header}" MATCHES "/" AND NOT DEFINED floor_${to})
    complain(${file} "${text}" "folder ${to} has no floor; add it to check_floors.cmake")
  elseif("${header}" MATCHES "/" AND NOT to STREQUAL folder AND NOT floor_${to} LESS floor_${folder}
         AND NOT "${file} ${header}" IN_LIST exceptions)
    complain(${file} "${text}"
             "${folder} is on floor ${floor_${folder}}, ${to} on ${floor_${to}}; only lower floors may be included")
  endif()
endmacro()

macro(check_doors file text header)
  list(LENGTH doors n)
  math(EXPR last "${n} - 1")
  foreach(i RANGE 0 ${last} 2)
    math(EXPR j "${i} + 1")
    list(GET doors ${i} pattern)
    list(GET doors ${j} allowed)
    if("${header}" MATCHES "${pattern}" AND NOT "${file}" MATCHES "${allowed}")
      complain(${file} "${text}" "this library is included only by ${allowed}")
    endif()
  endforeach()
endmacro()

file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/common/*.[ch] ${ROOT}/sim/*.[ch] ${ROOT}/server/*.[ch]
     ${ROOT}/client/*.[ch] ${ROOT}/lib/*.[ch])
list(LENGTH files n_files)
if(n_files EQUAL 0)
  message(FATAL_ERROR "no sources below ${ROOT}")
endif()
foreach(file IN LISTS files)
  string(REGEX REPLACE "^(common/)?([^/]*)/.*" "\\2" folder ${file})
  if(NOT DEFINED floor_${folder})
    message(SEND_ERROR "${file}: folder ${folder} has no floor; add it to check_floors.cmake")
    continue()
  endif()
  file(STRINGS ${ROOT}/${file} lines REGEX "^[ \t]*#[ \t]*include[ \t]*[\"<]" ENCODING UTF-8)
  foreach(line IN LISTS lines)
    string(REGEX MATCH "#[ \t]*include[ \t]*([\"<])([^\">]*)[\">]" text "${line}")
    set(header "${CMAKE_MATCH_2}")
    if(CMAKE_MATCH_1 STREQUAL "\"")
      check_floor(${file} ${folder} "${text}" "${header}")
    endif()
    check_doors(${file} "${text}" "${header}")
  endforeach()
endforeach()
message(STATUS "${n_files} files, ${failures} includes against the rules")
