#include "glue.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace sacvit::detail {
namespace {

// Moves the first `count` values of a vector into a new one.
template <typename T>
std::vector<T> cut(std::vector<T>& from, std::size_t count) {
    const auto middle = from.begin() + static_cast<std::ptrdiff_t>(count);
    std::vector<T> out(from.begin(), middle);
    from.erase(from.begin(), middle);
    return out;
}

}  // namespace

std::vector<double> softmax(const float* logits, std::size_t classes) {
    const double highest = *std::max_element(logits, logits + classes);
    std::vector<double> out(classes);
    double sum = 0;
    for (std::size_t i = 0; i < classes; ++i) {
        sum += out[i] = std::exp(logits[i] - highest);
    }
    for (double& value : out) {
        value /= sum;
    }
    return out;
}

std::vector<std::int64_t> select_targets(const float* scores, std::size_t tokens, std::size_t count) {
    std::vector<std::int64_t> order(tokens);
    std::iota(order.begin(), order.end(), 0);
    const auto middle = order.begin() + static_cast<std::ptrdiff_t>(count);
    std::partial_sort(order.begin(), middle, order.end(), [&](std::int64_t a, std::int64_t b) {
        return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
    });
    order.resize(count);
    std::sort(order.begin(), order.end());
    return order;
}

std::vector<float> window_sums(const float* scores, std::size_t grid, std::size_t side) {
    const std::size_t places = grid - side + 1;
    std::vector<float> across(grid * places), sums(places * places);
    for (std::size_t at = 0; at < across.size(); ++at) {
        const float* first = scores + at / places * grid + at % places;
        across[at] = std::accumulate(first + 1, first + side, *first);
    }
    for (std::size_t at = 0; at < sums.size(); ++at) {
        sums[at] = across[at];
        for (std::size_t row = 1; row < side; ++row) {
            sums[at] += across[at + row * places];
        }
    }
    return sums;
}

std::vector<std::int64_t> choose_targets(const float* scores, std::size_t count, const Config& config) {
    const auto grid = static_cast<std::size_t>(config.geometry.grid()), tokens = grid * grid;
    if (config.method.selection == "top_m") {
        return select_targets(scores, tokens, count);
    }
    const auto side = static_cast<std::size_t>(config.method.region_size), places = grid - side + 1;
    const std::vector<float> sums = window_sums(scores, grid, side);
    // The first of the highest.
    const auto best = static_cast<std::size_t>(std::max_element(sums.begin(), sums.end()) - sums.begin());
    std::vector<float> inside(tokens, -std::numeric_limits<float>::infinity());
    for (std::size_t row = best / places; row < best / places + side; ++row) {
        const std::size_t first = row * grid + best % places;
        std::copy_n(scores + first, side, inside.begin() + static_cast<std::ptrdiff_t>(first));
    }
    return select_targets(inside.data(), tokens, count);
}

std::vector<std::int64_t> child_positions(const std::vector<std::int64_t>& parents, std::int64_t grid) {
    std::vector<std::int64_t> out;
    out.reserve(4 * parents.size());
    for (const std::int64_t parent : parents) {
        const std::int64_t first = 4 * parent - 2 * (parent % grid);
        out.insert(out.end(), {first, first + 1, first + 2 * grid, first + 2 * grid + 1});
    }
    return out;
}

void gather_patches(const Pixels& image, const std::vector<std::int64_t>& targets, const Geometry& geometry,
                    std::vector<std::uint8_t>& out) {
    const std::int64_t patch = geometry.patch_size, grid = geometry.grid(), pitch = 3 * geometry.image_size;
    const std::size_t start = out.size();
    out.resize(start + targets.size() * 4 * static_cast<std::size_t>(geometry.patch_values()));
    std::uint8_t* to = out.data() + start;
    for (const std::int64_t target : targets) {
        for (std::int64_t child = 0; child < 4; ++child) {
            const std::int64_t y = (target / grid * 2 + child / 2) * patch, x = (target % grid * 2 + child % 2) * patch;
            for (std::int64_t channel = 0; channel < 3; ++channel) {
                const std::uint8_t* line = image.data() + y * pitch + 3 * x + channel;
                for (std::int64_t row = 0; row < patch; ++row, line += pitch) {
                    for (std::int64_t column = 0; column < patch; ++column) {
                        *to++ = line[3 * column];
                    }
                }
            }
        }
    }
}

void StageTwoRequest::add(const Pixels& image, const Outputs& stage_one, std::size_t row,
                          const std::vector<std::int64_t>& chosen, const Config& config) {
    const Geometry& geometry = config.geometry;
    const auto tokens = static_cast<std::size_t>(geometry.tokens());
    const TensorView& features = stage_one.at("features");
    const TensorView& kept = config.method.background == "embeddings" ? stage_one.at("embeddings") : features;
    features_type = features.type;
    background_type = kept.type;
    gather_patches(image, chosen, geometry, patches);
    const std::vector<std::int64_t> children = child_positions(chosen, geometry.grid());
    positions.insert(positions.end(), children.begin(), children.end());
    targets.insert(targets.end(), chosen.begin(), chosen.end());
    const auto copy_token = [&](const TensorView& from, std::size_t token, std::vector<std::byte>& to) {
        const std::size_t bytes = static_cast<std::size_t>(geometry.width) * element_size(from.type);
        const auto* start = static_cast<const std::byte*>(from.data) + (row * tokens + token) * bytes;
        to.insert(to.end(), start, start + bytes);
    };
    auto next = chosen.begin();
    for (std::size_t token = 0; token < tokens; ++token) {
        const bool target = next != chosen.end() && *next == static_cast<std::int64_t>(token);
        copy_token(target ? features : kept, token, target ? target_features : background);
        next += target;
    }
    ++size;
}

StageTwoRequest StageTwoRequest::take(std::size_t count) {
    if (count == size) {
        return std::exchange(*this, {});
    }
    const auto share = [&](const auto& all) { return all.size() / size * count; };
    StageTwoRequest out;
    out.features_type = features_type;
    out.background_type = background_type;
    out.patches = cut(patches, share(patches));
    out.positions = cut(positions, share(positions));
    out.target_features = cut(target_features, share(target_features));
    out.background = cut(background, share(background));
    out.targets = cut(targets, share(targets));
    out.size = count;
    size -= count;
    return out;
}

std::vector<float> normalised_patches(const StageTwoRequest& request, const Geometry& geometry,
                                      const Normalise& normalise) {
    std::vector<float> out(request.patches.size());
    const auto area = static_cast<std::size_t>(geometry.patch_size * geometry.patch_size);
    for (std::size_t plane = 0; plane * area < out.size(); ++plane) {
        const float scale = normalise.scale[plane % 3], shift = normalise.shift[plane % 3];
        for (std::size_t i = plane * area; i < (plane + 1) * area; ++i) {
            out[i] = static_cast<float>(request.patches[i]) * scale + shift;
        }
    }
    return out;
}

}  // namespace sacvit::detail
