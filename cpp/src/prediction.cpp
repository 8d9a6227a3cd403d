#include <algorithm>
#include <numeric>

#include "sacvit/sacvit.hpp"
#include "text.hpp"

namespace sacvit {
using detail::joined;
using detail::json_number;
using detail::text;

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
    std::vector<std::string> best, steps;
    for (const auto& [i, p] : topk(k)) {
        best.push_back(text("{\"label\": ", detail::json_string((*labels)[static_cast<std::size_t>(i)]),
                            ", \"probability\": ", json_number(p, 6), "}"));
    }
    const auto add_step = [&](const char* step, double seconds) {
        steps.push_back(text('"', step, "\": ", json_number(1000 * seconds, 3)));
    };
    add_step("decode", timing.decode);
    add_step("preprocess", timing.preprocess);
    add_step("glue", timing.glue);
    add_step("ee", timing.ee);
    if (stage == 2) {
        add_step("sac", timing.sac);
    }
    return text("{\"source\": ", detail::json_string(source), ", \"label\": ", detail::json_string(label()),
                ", \"index\": ", index, ", \"probability\": ", json_number(probability(), 6), ", \"stage\": ", stage,
                ", \"stage_one_probability\": ", json_number(stage_one_probability, 6), ", \"topk\": [", joined(best),
                "], \"targets\": ", stage == 1 ? "null" : "[" + joined(targets) + "]", ", \"grid\": ", grid,
                ", \"timing_ms\": {", joined(steps), "}}");
}

}  // namespace sacvit
