// The highest probability of an image, which the gate compares. As sacvit_deploy/confidence.py.
#pragma once

#include <cstddef>
#include <vector>

namespace sacvit::detail {

// A stage's answers for B images, on the host.
struct StageAnswers {
    std::vector<float> logits;      // [B,C]
    std::vector<float> confidence;  // [B,2]: the highest probability, the sum of the logits; empty where no engine says
};

// Whether all of these are numbers.
bool finite(const float* values, std::size_t count);

constexpr double kNear = 1e-4;  // a device's confidence is nearer to the exact one: fp32, sums of some thousand terms

// The highest probability of each of B images, NaN where a logit is not finite. A device's own confidence is taken as
// it is, but where it is within kNear of eta: there, as where there is none, it is computed here from the logits, in
// fp64. So the gate, `> eta`, decides the same whoever computed the confidence.
std::vector<double> classify(const StageAnswers& answers, std::size_t classes, double eta);

}  // namespace sacvit::detail
