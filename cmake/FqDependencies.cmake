# Every outside library, found once. `deploy/install-deps.sh` installs them on Debian.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(YAML   REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(ZLIB   REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(ZSTD   REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(PROTOBUF_C REQUIRED IMPORTED_TARGET libprotobuf-c)
pkg_check_modules(ZMQ REQUIRED IMPORTED_TARGET libzmq)
pkg_check_modules(CUNIT IMPORTED_TARGET cunit)
find_program(PROTOC_C protoc-c REQUIRED)
if(FQ_EDGE) # the rest is for coordinator and simulator
  return()
endif()

pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)

# BLIS: Debian keeps each threading variant in a folder of its own; ours is the serial one.
if(FQ_BLIS)
  find_path(BLIS_INCLUDE_DIR blis.h REQUIRED
            PATH_SUFFIXES ${CMAKE_LIBRARY_ARCHITECTURE}/blis-serial blis-serial blis)
  find_library(BLIS_LIBRARY blis REQUIRED
               PATH_SUFFIXES ${CMAKE_LIBRARY_ARCHITECTURE}/blis-serial blis-serial)
  add_library(fq_blis INTERFACE)
  target_include_directories(fq_blis SYSTEM INTERFACE ${BLIS_INCLUDE_DIR})
  target_link_libraries(fq_blis INTERFACE ${BLIS_LIBRARY})
endif()

# Chart.js goes into the program, so that a report opens from disk on any machine.
find_file(CHART_JS chart.min.js REQUIRED
          PATHS /usr/share/javascript/chart.js /usr/share/javascript)
