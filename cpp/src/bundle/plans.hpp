// plan.json: the record of how TensorRT plans were built. Plans that don't fit this machine are refused before a byte
// of them is loaded. As sacvit_deploy/bundle/plans.py.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bundle/bundle.hpp"

namespace sacvit::detail {

// The library and GPU that plans are built for.
struct BuildTarget {
    std::string runtime;     // tensorrt
    std::string version;     // of the library, such as 10.3.0; a fourth number in a record doesn't count
    std::string device;      // the GPU's name
    std::string capability;  // such as 8.7
};

// A variant's plans that fit, by role, held. Throws Error (bundle) with the reasons why the bundle's plans can't run
// here, and the command that builds others.
HeldFiles find_plans(const Bundle& bundle, const std::string& precision, const BuildTarget& here);

// The variants that have plans that fit. Throws Error (bundle) for a damaged plan.json.
std::vector<std::string> precisions_with_plans(const Bundle& bundle, const BuildTarget& here);

}  // namespace sacvit::detail
