// The steps between the two engine calls: softmax, selection of targets, gathering, and the request to stage 2.
// As sacvit_deploy/glue.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backends/engine.hpp"
#include "config.hpp"
#include "images/preprocess.hpp"

namespace sacvit::detail {

// [C] finite logits -> [C] probabilities.
std::vector<double> softmax(const float* logits, std::size_t classes);

// [N] scores -> the `count` highest, ties to the lower index, indices ascending.
std::vector<std::int64_t> select_targets(const float* scores, std::size_t tokens, std::size_t count);

// [N] scores -> their sums inside the side x side windows of the g x g grid, row-major: [(g - side + 1)^2]. The order
// of the additions is Python's, along a row, then down the rows: the sums are the same to the last bit.
std::vector<float> window_sums(const float* scores, std::size_t grid, std::size_t side);

// [N] finite scores -> `count` targets by the model's policy, indices ascending.
std::vector<std::int64_t> choose_targets(const float* scores, std::size_t count, const Config& config);

// [M] low-res indices -> [4M] indices into the 2g x 2g grid, the four children of a target together (paper eq. 11).
std::vector<std::int64_t> child_positions(const std::vector<std::int64_t>& parents, std::int64_t grid);

// [S,S,3] uint8 -> the children's pixels, [4M,3PP] uint8, appended to `out`.
void gather_patches(const Pixels& image, const std::vector<std::int64_t>& targets, const Geometry& geometry,
                    std::vector<std::uint8_t>& out);

// The input of stage 2 for B images with the same M, as plain values that could as well cross a network.
struct StageTwoRequest {
    std::size_t size = 0;                    // images
    std::vector<std::uint8_t> patches;       // [B,4M,3PP]
    std::vector<std::int64_t> positions;     // [B,4M]
    std::vector<std::byte> target_features;  // [B,M,D] in the variant's precision
    std::vector<std::byte> background;       // [B,N-M,D]
    ElementType features_type = ElementType::float32;
    ElementType background_type = ElementType::float32;
    std::vector<std::int64_t> targets;  // [B,M], for the answer's mask

    // Appends row `row` of a stage-1 batch.
    void add(const Pixels& image, const Outputs& stage_one, std::size_t row, const std::vector<std::int64_t>& chosen,
             const Config& config);
    // Removes and returns the first `count` images.
    StageTwoRequest take(std::size_t count);
};

// The patches, normalised: [B,4M,3PP] uint8 -> fp32.
std::vector<float> normalised_patches(const StageTwoRequest& request, const Geometry& geometry,
                                      const Normalise& normalise);

}  // namespace sacvit::detail
