#include <algorithm>
#include <numeric>

#include "backends/tensorrt/trt_engine.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

std::string list_of(const Shape& shape) { return "[" + joined(shape) + "]"; }

// How many numbers the largest inputs that a profile allows have.
double volume(const Profile& profile) {
    double out = 0;
    for (const auto& [name, limits] : profile) {
        out +=
            std::accumulate(limits.second.begin(), limits.second.end(), 1.0,
                            [](double product, std::int64_t length) { return product * static_cast<double>(length); });
    }
    return out;
}

bool within(const Shape& shape, const Shape& least, const Shape& greatest) {
    const auto in_order = [](const Shape& a, const Shape& b) {
        return std::equal(a.begin(), a.end(), b.begin(), b.end(), std::less_equal<>());
    };
    return in_order(least, shape) && in_order(shape, greatest);
}

// Why a profile doesn't allow the shapes; empty if it does.
std::string misfit(const Profile& profile, const std::map<std::string, Shape>& shapes) {
    for (const auto& [input, limits] : profile) {
        const auto given = shapes.find(input);
        if (given == shapes.end()) {
            return text(" asks for `", input, "`, which this stage is not given");
        }
        if (!within(given->second, limits.first, limits.second)) {
            return text(" takes `", input, "` of ", list_of(limits.first), " to ", list_of(limits.second), ", not ",
                        list_of(given->second),
                        "; ask for another batch or alpha, or build plans with another --batch or --alpha");
        }
    }
    return {};
}

}  // namespace

std::size_t choose_profile(const std::vector<Profile>& profiles, const std::map<std::string, Shape>& shapes,
                           const std::string& name) {
    std::vector<std::size_t> narrowest_first(profiles.size());
    std::iota(narrowest_first.begin(), narrowest_first.end(), 0);
    std::stable_sort(narrowest_first.begin(), narrowest_first.end(),
                     [&](std::size_t a, std::size_t b) { return volume(profiles[a]) < volume(profiles[b]); });
    std::string trouble = " has no profile; build the plans anew";
    for (const std::size_t number : narrowest_first) {
        trouble = misfit(profiles[number], shapes);
        if (trouble.empty()) {
            return number;
        }
    }
    fail(ErrorCode::backend, name, trouble);  // with the widest
}

}  // namespace sacvit::detail
