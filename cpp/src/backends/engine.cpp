#include "backends/engine.hpp"

#include <algorithm>

#include "backends/onnxruntime/ort_library.hpp"  // for its half-precision numbers

namespace sacvit::detail {
namespace {

template <typename From, typename To>
std::vector<std::byte> cast(const TensorView& view) {
    std::vector<std::byte> out(sizeof(To) * view.count());
    const auto* from = static_cast<const From*>(view.data);
    std::transform(from, from + view.count(), reinterpret_cast<To*>(out.data()),
                   [](From value) { return static_cast<To>(value); });
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
        const auto whole = [](ElementType type) { return type == ElementType::int64 || type == ElementType::uint8; };
        if (whole(view.type) || whole(spec.type) || view.device) {
            fail(ErrorCode::backend, file, " takes `", spec.name, "` in another element type");
        }
        storage.push_back(view.type == ElementType::float16 ? cast<Ort::Float16_t, float>(view)
                                                            : cast<float, Ort::Float16_t>(view));
        view.data = storage.back().data();
        view.type = spec.type;
    }
    return view;
}

}  // namespace sacvit::detail
