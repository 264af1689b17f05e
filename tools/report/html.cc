#include "tools/command/exit_status.h"
#include "tools/report/formats.h"
#include "tools/report/html_files.h"

namespace oomguard::tools {
namespace {

// JSON that no HTML parser takes for the end of the script element, or for a comment.
std::string inside_script(const std::string& json) {
  std::string text;
  text.reserve(json.size());
  for (const char c : json) {
    if (c == '<') {
      text += "\\u003c";
    } else {
      text += c;
    }
  }
  return text;
}

}  // namespace

Result<std::string> report_html(const Report& report) {
  if (kLibraries.empty()) {
    return Error{
        "--format html: this build has no HTML, because d3 was not found when it was made "
        "(Debian: node-d3)",
        kFailed};
  }
  std::string page;
  size_t at = 0;
  // What is put in is not looked at again: it may hold anything.
  const auto put = [&](std::string_view name, std::string_view text) {
    const size_t place = kPage.find(name, at);
    if (place == std::string_view::npos) return;
    page.append(kPage.substr(at, place - at)).append(text);
    at = place + name.size();
  };
  put("@STYLE@", kStyle);
  put("@DATA@", inside_script(report_json(report)));
  put("@LIBRARIES@", kLibraries);
  put("@SCRIPT@", kScript);
  page.append(kPage.substr(at));
  return page;
}

}  // namespace oomguard::tools
