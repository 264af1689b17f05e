# The command that is installed: linked statically, since a program's start-up code asks for the libc it
# was built with. It has the objects of the other one, which stays for the tests that let calls fail.
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_LINK_OPTIONS -static-pie)
set(CMAKE_REQUIRED_LIBRARIES ${LIBDW_STATIC_LIBRARIES})
check_cxx_source_compiles("int main() { return 0; }" OOMGUARD_CAN_LINK_STATICALLY)
unset(CMAKE_REQUIRED_LINK_OPTIONS)
unset(CMAKE_REQUIRED_LIBRARIES)
if(NOT OOMGUARD_CAN_LINK_STATICALLY)
  message(FATAL_ERROR "OOMGUARD_PORTABLE needs static libraries (Debian: libc6-dev libdw-dev "
    "liblzma-dev libbz2-dev zlib1g-dev); -DOOMGUARD_PORTABLE=OFF builds for this machine alone")
endif()
add_executable(oomguard_portable package/without_debuginfod.cc)
target_link_libraries(oomguard_portable PRIVATE oomguard_command)
target_link_options(oomguard_portable PRIVATE -static-pie)
set_target_properties(oomguard_portable PROPERTIES OUTPUT_NAME oomguard OOMGUARD_STATIC ON
                      RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/package)
install(TARGETS oomguard_portable RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
