#include "backends/convert.hpp"

#include <algorithm>

#include "backends/onnxruntime/ort_library.hpp"  // for its half-precision numbers
#include "errors.hpp"

namespace sacvit::detail {
namespace {

// fp16 values as fp32, or fp32 values as fp16.
std::vector<std::byte> cast(const TensorView& from) {
    const std::size_t count = from.count();
    if (from.type == ElementType::float16) {
        std::vector<std::byte> out(4 * count);
        const auto* halves = static_cast<const Ort::Float16_t*>(from.data);
        std::transform(halves, halves + count, reinterpret_cast<float*>(out.data()),
                       [](Ort::Float16_t half) { return half.ToFloat(); });
        return out;
    }
    std::vector<std::byte> out(2 * count);
    const auto* floats = static_cast<const float*>(from.data);
    std::transform(floats, floats + count, reinterpret_cast<Ort::Float16_t*>(out.data()),
                   [](float value) { return Ort::Float16_t(value); });
    return out;
}

}  // namespace

TensorView input_for(const TensorSpec& spec, const std::map<std::string, TensorView>& inputs, const std::string& file,
                     std::vector<std::vector<std::byte>>& storage) {
    const auto given = inputs.find(spec.name);
    if (given == inputs.end()) {
        fail(ErrorCode::backend, file, " asks for `", spec.name, "`, which this stage is not given");
    }
    TensorView view = given->second;
    if (view.type != spec.type) {
        if (view.type == ElementType::int64 || spec.type == ElementType::int64) {
            fail(ErrorCode::backend, file, " takes `", spec.name, "` in another element type");
        }
        storage.push_back(cast(view));
        view.data = storage.back().data();
        view.type = spec.type;
    }
    return view;
}

}  // namespace sacvit::detail
