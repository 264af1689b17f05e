// What `oomguard fit` prints.
//
// Thread-safety: none needed, the command has one thread.
#pragma once

#include <string>
#include <vector>

#include "collector/fit/predict.h"

namespace oomguard::tools {

struct FitPage {
  fit::Checkpoint checkpoint;
  int64_t left = INT64_MAX;  // of host memory; INT64_MAX where nothing limits
  fit::Room room;            // the same less what the imports take
  bool planned = false;      // `left` is what --limit says
  bool train = false;
  std::vector<fit::Outcome> outcomes;
};

// At most 100 columns but for the lines to paste, in GiB.
std::string fit_text(const FitPage& page);

// docs/fit.md describes it.
std::string fit_json(const FitPage& page);

// "~5.4 GiB": a prediction, in GiB.
std::string predicted(int64_t bytes);
// "fits", "does not fit by ~3.1 GiB", ...
std::string verdict_of(const fit::Outcome& outcome);

}  // namespace oomguard::tools
