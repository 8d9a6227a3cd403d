#include "backends/convert.hpp"

#include <cstring>

#include "errors.hpp"
#include "backends/onnxruntime/ort_library.hpp"  // its half-precision numbers

namespace sacvit::detail {
namespace {

// Values in another element type.
std::vector<std::byte> cast(const TensorView& from, ElementType type) {
    const std::size_t count = from.count();
    std::vector<std::byte> out(count * element_size(type));
    const auto* bytes = static_cast<const std::byte*>(from.data);
    for (std::size_t i = 0; i < count; ++i) {
        float value = 0;
        if (from.type == ElementType::float16) {
            std::uint16_t half;
            std::memcpy(&half, bytes + 2 * i, 2);
            value = Ort::Float16_t::FromBits(half).ToFloat();
        } else {
            std::memcpy(&value, bytes + 4 * i, 4);
        }
        if (type == ElementType::float16) {
            const std::uint16_t half = Ort::Float16_t(value).val;
            std::memcpy(&out[2 * i], &half, 2);
        } else {
            std::memcpy(&out[4 * i], &value, 4);
        }
    }
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
        storage.push_back(cast(view, spec.type));
        view.data = storage.back().data();
        view.type = spec.type;
    }
    return view;
}

}  // namespace sacvit::detail
