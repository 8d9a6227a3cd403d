#include <algorithm>
#include <numeric>

#include "sacvit/sacvit.hpp"
#include "text.hpp"

namespace sacvit {

using detail::json_rounded;

std::string json_string(const std::string& value) { return detail::json_string(value); }

std::vector<std::pair<int, float>> Prediction::topk(int k) const {
    std::vector<int> order(probabilities.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
        return probabilities[static_cast<std::size_t>(a)] > probabilities[static_cast<std::size_t>(b)];
    });
    order.resize(std::min(order.size(), static_cast<std::size_t>(std::max(k, 0))));
    std::vector<std::pair<int, float>> out;
    for (const int i : order) {
        out.emplace_back(i, probabilities[static_cast<std::size_t>(i)]);
    }
    return out;
}

std::vector<std::uint8_t> Prediction::target_mask() const {
    std::vector<std::uint8_t> mask;
    if (!targets.empty()) {
        mask.resize(static_cast<std::size_t>(grid) * static_cast<std::size_t>(grid));
        for (const std::int64_t target : targets) {
            mask[static_cast<std::size_t>(target)] = 1;
        }
    }
    return mask;
}

std::string Prediction::to_json(int k) const {
    std::string out = "{\"source\": " + json_string(source) + ", \"label\": " + json_string(label()) +
                      ", \"index\": " + std::to_string(index) +
                      ", \"probability\": " + json_rounded(static_cast<double>(probability()), 6) +
                      ", \"stage\": " + std::to_string(stage) +
                      ", \"stage_one_probability\": " + json_rounded(stage_one_probability, 6) + ", \"topk\": [";
    const char* comma = "";
    for (const auto& [i, p] : topk(k)) {
        out += comma + ("{\"label\": " + json_string((*labels)[static_cast<std::size_t>(i)])) +
               ", \"probability\": " + json_rounded(static_cast<double>(p), 6) + "}";
        comma = ", ";
    }
    out += "], \"targets\": ";
    if (stage == 1) {
        out += "null";
    } else {
        comma = "";
        out += '[';
        for (const std::int64_t target : targets) {
            out += comma + std::to_string(target);
            comma = ", ";
        }
        out += ']';
    }
    out += ", \"grid\": " + std::to_string(grid) + ", \"timing_ms\": {";
    const std::pair<const char*, double> steps[] = {{"decode", timing.decode}, {"preprocess", timing.preprocess},
                                                    {"glue", timing.glue},     {"ee", timing.ee},
                                                    {"sac", timing.sac}};
    comma = "";
    for (const auto& [name, seconds] : steps) {
        if (stage == 2 || std::string(name) != "sac") {
            out += std::string(comma) + "\"" + name + "\": " + json_rounded(1000 * seconds, 3);
            comma = ", ";
        }
    }
    return out + "}}";
}

}  // namespace sacvit
