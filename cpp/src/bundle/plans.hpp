// plan.json: what TensorRT plans were built from, by and for. One that does not fit here is refused before a byte is
// loaded. As sacvit_deploy/bundle/plans.py.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bundle/bundle.hpp"

namespace sacvit::detail {

// The library and the GPU that are here.
struct BuildTarget {
    std::string runtime;     // tensorrt
    std::string version;     // of the library, such as 10.3.0; a fourth number in a record doesn't count
    std::string device;      // the GPU's name
    std::string capability;  // such as 8.7
};

// Paths of the plans of a variant that fit, by role, their hashes checked. Throws Error (bundle) with what keeps those
// there are from running here, and the command that builds others.
std::map<std::string, std::string> find_plans(const Bundle& bundle, const std::string& precision,
                                              const BuildTarget& here);

// The variants that have plans that fit. Throws Error (bundle) for a damaged plan.json.
std::vector<std::string> precisions_with_plans(const Bundle& bundle, const BuildTarget& here);

}  // namespace sacvit::detail
