// How much memory there is for decoding. As sacvit_deploy/images/budget.py.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace sacvit::detail {

// The bytes that this process may still take: of the machine, of its control groups, of `ulimit -v`. `root` is where
// proc and sys are. Nothing where nothing is known, as on other systems than Linux.
std::optional<std::size_t> free_memory(const std::string& root = "");

}  // namespace sacvit::detail
