# What the three toolchains share: Debian's cross compiler, and the static libraries that
# deploy/sysroot.sh has put into build/sysroot/<machine>. On a machine of the same kind the compiler is
# the native one and what has been built is run directly, else under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
get_filename_component(FQ_SYSROOT ${CMAKE_CURRENT_LIST_DIR}/../../build/sysroot/${FQ_MACHINE} ABSOLUTE)

foreach(language C CXX)
  set(program_C gcc)
  set(program_CXX g++)
  set(CMAKE_${language}_COMPILER ${FQ_TRIPLET}-${program_${language}})
endforeach()
set(CMAKE_AR ${FQ_TRIPLET}-gcc-ar CACHE FILEPATH "")
set(CMAKE_RANLIB ${FQ_TRIPLET}-gcc-ranlib CACHE FILEPATH "")

# Libraries and headers from the sysroot alone, programs such as protoc-c from this machine.
set(CMAKE_LIBRARY_ARCHITECTURE ${FQ_TRIPLET})
set(CMAKE_FIND_ROOT_PATH ${FQ_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} ${FQ_SYSROOT}/usr/lib/${FQ_TRIPLET}/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${FQ_SYSROOT})
# The settings above are also needed by the small configurations that CMake makes for its checks.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES FQ_MACHINE FQ_TRIPLET)

if(NOT CMAKE_HOST_SYSTEM_PROCESSOR STREQUAL CMAKE_SYSTEM_PROCESSOR)
  if(CMAKE_SYSTEM_PROCESSOR STREQUAL armv7l)
    set(CMAKE_CROSSCOMPILING_EMULATOR qemu-arm)
  else()
    set(CMAKE_CROSSCOMPILING_EMULATOR qemu-${CMAKE_SYSTEM_PROCESSOR})
  endif()
endif()
