// The choice among a plan's optimisation profiles. Built with SACVIT_TENSORRT alone.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "backends/engine.hpp"

namespace sacvit::detail {

// The least and the greatest shape of each input that one profile allows.
using Profile = std::map<std::string, std::pair<Shape, Shape>>;

// The number of the narrowest profile that allows the shapes. Throws Error (backend) that names the input out of range.
// `name` stands in messages.
std::size_t choose_profile(const std::vector<Profile>& profiles, const std::map<std::string, Shape>& shapes,
                           const std::string& name);

}  // namespace sacvit::detail
