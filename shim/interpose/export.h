// The only way a symbol leaves liboomguard.so. Every name exported so stands in hooks.def too, and
// the version script made from hooks.def hides everything else.
#pragma once

#define OOMGUARD_EXPORT extern "C" [[gnu::visibility("default")]]
