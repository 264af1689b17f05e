# `pip wheel .` (pyproject.toml). Command and library land in the environment's own folders, side by
# side as in any prefix. -DOOMGUARD_PREBUILT=FOLDER makes the wheel of what was built there with
# OOMGUARD_PORTABLE, and tested, instead of compiling it again.
set(OOMGUARD_PREBUILT "" CACHE PATH "Build folder whose command and library the wheel has")
set(CMAKE_INSTALL_PREFIX ${SKBUILD_DATA_DIR})
foreach(folder BINDIR LIBDIR)
  set(CMAKE_INSTALL_${folder} ${SKBUILD_DATA_DIR}/${CMAKE_INSTALL_${folder}})
endforeach()
set(OOMGUARD_BUILD_TESTS OFF)
set(OOMGUARD_PORTABLE ON)
if(OOMGUARD_PREBUILT)
  install(CODE "execute_process(COMMAND ${CMAKE_COMMAND} --install ${OOMGUARD_PREBUILT} --strip
                                        --prefix ${SKBUILD_DATA_DIR}
                                COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)")
endif()
