#include "confidence.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sacvit::detail {
namespace {

double highest_probability(const float* logits, std::size_t classes) {
    if (!finite(logits, classes)) {
        return std::numeric_limits<double>::quiet_NaN();
    }
    const double highest = *std::max_element(logits, logits + classes);
    double sum = 0;
    for (std::size_t i = 0; i < classes; ++i) {
        sum += std::exp(logits[i] - highest);
    }
    return 1 / sum;  // the highest logit's own part of the softmax, whose numerator is exp(0)
}

}  // namespace

bool finite(const float* values, std::size_t count) {
    return std::all_of(values, values + count, [](float value) { return std::isfinite(value); });
}

std::vector<double> classify(const StageAnswers& answers, std::size_t classes, double eta) {
    std::vector<double> out(answers.logits.size() / classes);
    for (std::size_t row = 0; row < out.size(); ++row) {
        const float* const logits = &answers.logits[row * classes];
        if (answers.confidence.empty()) {
            out[row] = highest_probability(logits, classes);
            continue;
        }
        const double given = answers.confidence[2 * row], total = answers.confidence[2 * row + 1];
        out[row] = std::fabs(given - eta) <= kNear ? highest_probability(logits, classes) : given;
        // A sum of finite logits is finite; times zero, it changes nothing, and makes NaN of all others.
        out[row] += 0.0 * total;
    }
    return out;
}

}  // namespace sacvit::detail
