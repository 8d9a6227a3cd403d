#include "bundle/onnx_weights.hpp"

#include <charconv>
#include <system_error>
#include <utility>

#include "bundle/protobuf.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

// Field numbers of onnx.proto.
constexpr std::uint64_t kModelGraph = 7, kGraphInitializer = 5;
constexpr std::uint64_t kTensorDims = 1, kTensorType = 2, kTensorName = 8, kTensorRaw = 9;
constexpr std::uint64_t kTensorExternal = 13, kTensorPlace = 14;
constexpr std::uint64_t kEntryKey = 1, kEntryValue = 2;

// What a message of onnx.proto has in its fields, as far as tensors may be below.
enum class Kind { model, graph, function, training, node, attribute, sparse, tensor };
struct Below {
    Kind in;
    std::uint64_t field;
    Kind kind;
};
constexpr Below kBelow[] = {
    {Kind::model, 7, Kind::graph},         {Kind::model, 20, Kind::training},   {Kind::model, 25, Kind::function},
    {Kind::training, 1, Kind::graph},      {Kind::training, 2, Kind::graph},    {Kind::graph, 1, Kind::node},
    {Kind::graph, 5, Kind::tensor},        {Kind::graph, 15, Kind::sparse},     {Kind::function, 7, Kind::node},
    {Kind::function, 11, Kind::attribute}, {Kind::node, 5, Kind::attribute},    {Kind::attribute, 5, Kind::tensor},
    {Kind::attribute, 6, Kind::graph},     {Kind::attribute, 10, Kind::tensor}, {Kind::attribute, 11, Kind::graph},
    {Kind::attribute, 22, Kind::sparse},   {Kind::attribute, 23, Kind::sparse}, {Kind::sparse, 1, Kind::tensor},
    {Kind::sparse, 2, Kind::tensor},
};
constexpr int kDepth = 100;  // messages inside each other, which is protobuf's own limit

std::uint64_t number(std::string_view digits) {
    std::uint64_t out = 0;
    const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    if (end.ec != std::errc() || end.ptr != digits.data() + digits.size()) {
        throw Malformed{};
    }
    return out;
}

// A tensor without its values. `external` where they are, or seem to be, in the file `location`.
struct Tensor {
    ExternalTensor place;
    std::string location;
    bool external = false;
};

void read_entry(std::string_view entry, Tensor& out) {
    std::string_view key, value;
    for (const Field& field : fields_of(entry)) {
        if (field.number == kEntryKey || field.number == kEntryValue) {
            (field.number == kEntryKey ? key : value) = field.bytes;
        }
    }
    if (key == "location") {
        out.location = std::string(value);
    } else if (key == "offset") {
        out.place.offset = number(value);
    } else if (key == "length") {
        out.place.length = number(value);
    }
}

Tensor read_tensor(std::string_view message) {
    Tensor out;
    for (Field& field : fields_of(message)) {
        if (field.number == kTensorDims) {
            while (!field.bytes.empty()) {  // one length, or all of them packed
                out.place.shape.push_back(static_cast<std::int64_t>(take_varint(field.bytes)));
            }
        } else if (field.number == kTensorType) {
            out.place.type = static_cast<std::int32_t>(take_varint(field.bytes));
        } else if (field.number == kTensorName) {
            out.place.name = std::string(field.bytes);
        } else if (field.number == kTensorExternal) {
            out.external = true;
            read_entry(field.bytes, out);
        } else if (field.number == kTensorPlace) {
            out.external = out.external || take_varint(field.bytes) != 0;
        }
    }
    return out;
}

// Calls `found` with every tensor below a message; only the main graph's weights are two levels below the model.
template <typename Found>
void walk(Kind kind, std::string_view message, int depth, const Found& found) {
    if (depth > kDepth) {
        throw Malformed{};
    }
    if (kind == Kind::tensor) {
        found(read_tensor(message), depth == 2);
        return;
    }
    for (const Field& field : fields_of(message)) {
        for (const Below& below : kBelow) {
            if (below.in == kind && below.field == field.number) {
                if (!field.delimited) {
                    throw Malformed{};
                }
                walk(below.kind, field.bytes, depth + 1, found);
            }
        }
    }
}

// A weight, external or not, as with_weights says.
std::string with_values(std::string_view message, std::string_view weights, const std::set<std::string>& names,
                        std::string_view location) {
    const Tensor tensor = read_tensor(message);
    if (!tensor.external) {
        return std::string(message);
    }
    const bool named = names.count(tensor.place.name) > 0;
    std::string out;
    for (const Field& field : fields_of(message)) {
        if (field.number != kTensorExternal && field.number != kTensorRaw && (named || field.number != kTensorPlace)) {
            out += field.whole;
        }
    }
    if (named) {
        std::string place;
        put_field(place, kEntryKey, "location");
        put_field(place, kEntryValue, location);
        put_field(out, kTensorExternal, place);
    } else {
        put_field(out, kTensorRaw, weights.substr(tensor.place.offset, tensor.place.length));
    }
    return out;
}

}  // namespace

std::vector<ExternalTensor> external_tensors(std::string_view model, const std::string& name,
                                             const std::string& weights, std::size_t size) {
    std::vector<ExternalTensor> out;
    try {
        walk(Kind::model, model, 0, [&](Tensor tensor, bool weight) {
            ExternalTensor& place = tensor.place;
            if (!tensor.external) {
                return;
            }
            if (!weight || weights.empty() || tensor.location != weights) {
                fail(ErrorCode::bundle, name, " stores `", place.name, "` in the file '", tensor.location,
                     "'; only weights may be in a file, in the one that the manifest lists as weights");
            }
            if (place.offset > size || place.length > size - place.offset) {
                fail(ErrorCode::bundle, name, " looks for `", place.name, "` behind the end of ", weights);
            }
            out.push_back(std::move(place));
        });
    } catch (const Malformed&) {
        fail(ErrorCode::bundle, name, " is no ONNX model; export the bundle again");
    }
    return out;
}

std::string with_weights(std::string_view model, std::string_view weights, const std::set<std::string>& names,
                         std::string_view location) {
    std::string out, graph;
    for (const Field& field : fields_of(model)) {
        if (field.number != kModelGraph) {
            out += field.whole;
            continue;
        }
        graph.clear();
        for (const Field& part : fields_of(field.bytes)) {
            if (part.number == kGraphInitializer) {
                put_field(graph, kGraphInitializer, with_values(part.bytes, weights, names, location));
            } else {
                graph += part.whole;
            }
        }
        put_field(out, kModelGraph, graph);
    }
    return out;
}

}  // namespace sacvit::detail
