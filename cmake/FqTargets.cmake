# fq_options: language, warnings and sanitizers, on every target of ours and on no generated one.
add_library(fq_options INTERFACE)
target_compile_features(fq_options INTERFACE c_std_11)
target_compile_definitions(fq_options INTERFACE _GNU_SOURCE FQ_VERSION="${PROJECT_VERSION}")
# No contraction of a*b+c across statements: the same source gives the same bits with every compiler
# flag that does not name FMA itself, and the kernels that want FMA say so.
target_compile_options(fq_options INTERFACE -fno-math-errno -ffp-contract=off)
add_library(fq_warnings INTERFACE)
target_compile_options(fq_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wdouble-promotion -Wstrict-prototypes
  -Wmissing-prototypes -Wundef -Wvla $<$<BOOL:${FQ_WERROR}>:-Werror>)
if(FQ_SANITIZE)
  target_compile_options(fq_options INTERFACE -fsanitize=${FQ_SANITIZE} -fno-omit-frame-pointer
                         -fno-sanitize-recover=all)
  target_link_options(fq_options INTERFACE -fsanitize=${FQ_SANITIZE})
endif()
if(FQ_COVERAGE)
  target_compile_options(fq_options INTERFACE --coverage)
  target_link_options(fq_options INTERFACE --coverage)
endif()
if(FQ_EDGE)
  # What nobody calls is left out; our own code neither throws nor is thrown through. Fat objects, so
  # that the tests, of which there are many, can be linked without waiting for the optimizer.
  target_compile_options(fq_options INTERFACE -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables
                         -flto=auto -ffat-lto-objects)
  target_link_options(fq_options INTERFACE -Wl,--gc-sections -Wl,--build-id=none -s)
endif()
if(FQ_STATIC)
  target_link_options(fq_options INTERFACE -static)
endif()

set(FQ_FOR_LIBFEDQ ON)
if(FQ_SANITIZE OR FQ_COVERAGE OR FQ_FUZZ OR FQ_STATIC)
  set(FQ_FOR_LIBFEDQ OFF)
endif()
# fq_for_libfedq(target folder): the folders that libfedq is made of are compiled for a shared library, each
# function by itself, so that only what is called gets in.
function(fq_for_libfedq target folder)
  if(FQ_FOR_LIBFEDQ AND folder MATCHES "^(base|math|model|quant|infer)$")
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    target_compile_options(${target} PRIVATE -ffunction-sections -fdata-sections)
  endif()
endfunction()

# fq_library(folder SOURCES a.c b.c [LINK lower floors and outside libraries])
# One folder of common/ is one static library fq_<folder>; headers are included from common/.
function(fq_library folder)
  cmake_parse_arguments(A "" "" "SOURCES;LINK" ${ARGN})
  add_library(fq_${folder} STATIC ${A_SOURCES})
  target_include_directories(fq_${folder} PUBLIC ${CMAKE_SOURCE_DIR}/common)
  target_link_libraries(fq_${folder} PUBLIC fq_options ${A_LINK} PRIVATE fq_warnings)
  fq_for_libfedq(fq_${folder} ${folder})
endfunction()

# fq_test(name SOURCES test_x.c LINK fq_y [ARGS ...] [LABELS ...]): one CUnit program, one CTest entry.
function(fq_test name)
  cmake_parse_arguments(A "" "" "SOURCES;LINK;ARGS;LABELS" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/support)
  target_link_libraries(${name} PRIVATE fq_test_support ${A_LINK} fq_options fq_warnings)
  if(FQ_EDGE)
    target_link_options(${name} PRIVATE -fno-lto)
  endif()
  add_test(NAME ${name} COMMAND ${name} ${A_ARGS})
  if(A_LABELS)
    set_tests_properties(${name} PROPERTIES LABELS "${A_LABELS}")
  endif()
endfunction()

# fq_knows_build(target): FQ_BUILD says compiler and build type.
function(fq_knows_build target)
  target_compile_definitions(${target} PRIVATE
    FQ_BUILD="${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION} ${CMAKE_BUILD_TYPE}")
endfunction()

# fq_program(name): what every program has: common/program, the date, a manual page, installation.
function(fq_program name)
  string(TIMESTAMP today "%Y-%m-%d" UTC)
  target_compile_definitions(${name} PRIVATE FQ_DATE="${today}")
  target_link_libraries(${name} PRIVATE fq_program fq_options fq_warnings)
  if(FQ_EDGE)
    target_link_options(${name} PRIVATE -flto=auto)
  endif()
  set(page ${CMAKE_CURRENT_BINARY_DIR}/${name}.1)
  add_custom_command(OUTPUT ${page} COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:${name}> --man > ${page}
                     DEPENDS ${name} VERBATIM)
  add_custom_target(${name}_man ALL DEPENDS ${page})
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endfunction()
