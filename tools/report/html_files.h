// The files of tools/report/html as this program carries them (written by html/embed.cmake).
#pragma once

#include <string_view>

namespace oomguard::tools {

extern const std::string_view kPage;  // the frame of the page, with places for the rest: @NAME@
extern const std::string_view kStyle;
extern const std::string_view kScript;
extern const std::string_view
    kLibraries;  // the parts of d3 with their licence; "" where it was not found

}  // namespace oomguard::tools
