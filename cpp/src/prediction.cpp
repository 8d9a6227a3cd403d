#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <numeric>

#include "sacvit/sacvit.hpp"
#include "text.hpp"

namespace sacvit {
namespace {

using json = nlohmann::ordered_json;

// The number that is nearest to the one written with so many decimals, as Python's `round` gives it.
double rounded(double value, int digits) {
    char buffer[400];
    std::snprintf(buffer, sizeof buffer, "%.*f", digits, value);
    return std::strtod(buffer, nullptr);
}

// In one line, spaced as Python's json writes it. Line breaks inside strings are escaped, so all others separate.
std::string one_line(const json& data) {
    std::string out;
    for (const char character : data.dump(0, ' ', true)) {
        if (character != '\n') {
            out += character;
        } else if (out.back() == ',') {
            out += ' ';
        }
    }
    return out;
}

}  // namespace

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
    json best = json::array();
    for (const auto& [i, p] : topk(k)) {
        best.push_back({{"label", (*labels)[static_cast<std::size_t>(i)]}, {"probability", rounded(p, 6)}});
    }
    json steps;
    const std::pair<const char*, double> seconds[] = {{"decode", timing.decode}, {"preprocess", timing.preprocess},
                                                      {"glue", timing.glue},     {"ee", timing.ee},
                                                      {"sac", timing.sac}};
    for (const auto& [step, spent] : seconds) {
        if (stage == 2 || step != std::string("sac")) {
            steps[step] = rounded(1000 * spent, 3);
        }
    }
    const json rest = {{"label", label()},
                       {"index", index},
                       {"probability", rounded(probability(), 6)},
                       {"stage", stage},
                       {"stage_one_probability", rounded(stage_one_probability, 6)},
                       {"topk", best},
                       {"targets", stage == 1 ? json() : json(targets)},
                       {"grid", grid},
                       {"timing_ms", steps}};
    // A path may be no UTF-8, which the JSON library would refuse.
    return "{\"source\": " + json_string(source) + ", " + one_line(rest).substr(1);
}

}  // namespace sacvit
