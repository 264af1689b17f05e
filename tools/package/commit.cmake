# Writes OUTPUT, a source with the commit that is built, where it changed: "abc1234", "abc1234 with
# changes", or "not known" where the sources are no git checkout.
execute_process(COMMAND git -C ${SOURCE} rev-parse --show-prefix --short=12 HEAD
                OUTPUT_VARIABLE lines RESULT_VARIABLE failed ERROR_QUIET
                OUTPUT_STRIP_TRAILING_WHITESPACE)
set(commit "not known")
if(failed EQUAL 0 AND lines MATCHES "^\n([0-9a-f]+)$")  # no prefix: the checkout is the project's own
  set(commit ${CMAKE_MATCH_1})
  execute_process(COMMAND git -C ${SOURCE} diff-index --quiet HEAD -- RESULT_VARIABLE changed)
  if(NOT changed EQUAL 0)
    string(APPEND commit " with changes")
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT "#include \"tools/command/version.h\"

namespace oomguard::tools {

const char* const kCommit = \"@commit@\";

}  // namespace oomguard::tools
")
