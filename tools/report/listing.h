// Lists of sessions as text.
//
// Thread-safety: none needed, the command has one thread.
#pragma once

#include <string>
#include <vector>

#include "tools/report/tree.h"

namespace oomguard::tools {

std::string listing_head();
// One line; children are indented by `depth`.
std::string listed_line(const Listed& session, int depth);

// What is recorded of the processes that the one of `flight` started; "" where that is nothing.
std::string children_text(const std::string& directory, const record::Flight& flight);

}  // namespace oomguard::tools
