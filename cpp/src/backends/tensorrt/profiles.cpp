#include "backends/tensorrt/profiles.hpp"

#include <algorithm>

#include "errors.hpp"

namespace sacvit::detail {
namespace {

std::string list_of(const Shape& shape) {
    std::string out;
    for (const std::int64_t length : shape) {
        out += (out.empty() ? "" : ", ") + std::to_string(length);
    }
    return "[" + out + "]";
}

// How many numbers the largest inputs that a profile allows have.
double volume(const Profile& profile) {
    double out = 0;
    for (const auto& [name, shapes] : profile) {
        double values = 1;
        for (const std::int64_t length : shapes.second) {
            values *= static_cast<double>(length);
        }
        out += values;
    }
    return out;
}

bool within(const Shape& shape, const std::pair<Shape, Shape>& allowed) {
    const auto& [least, greatest] = allowed;
    if (shape.size() != least.size() || shape.size() != greatest.size()) {
        return false;
    }
    for (std::size_t i = 0; i < shape.size(); ++i) {
        if (shape[i] < least[i] || shape[i] > greatest[i]) {
            return false;
        }
    }
    return true;
}

}  // namespace

std::size_t choose_profile(const std::vector<Profile>& profiles, const std::map<std::string, Shape>& shapes,
                           const std::string& name) {
    const auto narrower = [](const Profile& a, const Profile& b) { return volume(a) < volume(b); };
    const auto allows = [&](const Profile& profile) {
        return std::all_of(profile.begin(), profile.end(), [&](const auto& input) {
            const auto given = shapes.find(input.first);
            return given != shapes.end() && within(given->second, input.second);
        });
    };
    std::size_t best = profiles.size();
    for (std::size_t i = 0; i < profiles.size(); ++i) {
        if (allows(profiles[i]) && (best == profiles.size() || narrower(profiles[i], profiles[best]))) {
            best = i;
        }
    }
    if (best < profiles.size()) {
        return best;
    }
    const auto widest = std::max_element(profiles.begin(), profiles.end(), narrower);
    if (widest == profiles.end()) {
        fail(ErrorCode::backend, name, " has no profile; build the plans anew");
    }
    for (const auto& [input, allowed] : *widest) {
        const auto given = shapes.find(input);
        if (given == shapes.end()) {
            fail(ErrorCode::backend, name, " asks for `", input, "`, which this stage is not given");
        }
        if (!within(given->second, allowed)) {
            fail(ErrorCode::backend, name, " takes `", input, "` of ", list_of(allowed.first), " to ",
                 list_of(allowed.second), ", not ", list_of(given->second),
                 "; ask for another batch or alpha, or build plans with another --batch or --alpha");
        }
    }
    fail(ErrorCode::backend, name, " has no profile for these shapes");
}

}  // namespace sacvit::detail
