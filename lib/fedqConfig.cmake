# find_package(fedq) gives the target fedq::fedq.
include("${CMAKE_CURRENT_LIST_DIR}/fedqTargets.cmake")
