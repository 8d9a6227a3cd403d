#include "bundle/onnx_weights.hpp"

#include <cstdlib>

#include "text.hpp"

namespace sacvit::detail {
namespace {

struct Malformed {};

// One protobuf field, and the bytes of its varint or of its length-delimited content.
struct Field {
    std::uint64_t number;
    std::string_view bytes;
};

std::string_view take(std::string_view& rest, std::uint64_t count) {
    if (count > rest.size()) {
        throw Malformed{};
    }
    const std::string_view out = rest.substr(0, count);
    rest.remove_prefix(count);
    return out;
}

std::uint64_t take_varint(std::string_view& rest) {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        const auto byte = static_cast<std::uint8_t>(take(rest, 1)[0]);
        value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    throw Malformed{};
}

std::vector<Field> fields_of(std::string_view message) {
    std::vector<Field> out;
    while (!message.empty()) {
        const std::uint64_t key = take_varint(message);
        Field field{key >> 3, {}};
        switch (key & 7) {
            case 0:
                field.bytes = message;
                take_varint(message);
                field.bytes.remove_suffix(message.size());
                break;
            case 1: field.bytes = take(message, 8); break;
            case 2: field.bytes = take(message, take_varint(message)); break;
            case 5: field.bytes = take(message, 4); break;
            default: throw Malformed{};
        }
        out.push_back(field);
    }
    return out;
}

// Field numbers of onnx.proto.
constexpr std::uint64_t kModelGraph = 7, kGraphInitializer = 5;
constexpr std::uint64_t kTensorDims = 1, kTensorType = 2, kTensorName = 8, kTensorExternal = 13;
constexpr std::uint64_t kEntryKey = 1, kEntryValue = 2;

void read_external(std::string_view entry, ExternalTensor& out) {
    std::string key, value;
    for (const Field& field : fields_of(entry)) {
        if (field.number == kEntryKey || field.number == kEntryValue) {
            (field.number == kEntryKey ? key : value) = std::string(field.bytes);
        }
    }
    if (key == "location") {
        out.location = value;
    } else if (key == "offset") {
        out.offset = std::strtoull(value.c_str(), nullptr, 10);
    } else if (key == "length") {
        out.length = std::strtoull(value.c_str(), nullptr, 10);
    }
}

ExternalTensor read_tensor(std::string_view tensor) {
    ExternalTensor out;
    for (Field& field : fields_of(tensor)) {
        if (field.number == kTensorDims) {
            while (!field.bytes.empty()) {  // one length, or all of them packed
                out.shape.push_back(static_cast<std::int64_t>(take_varint(field.bytes)));
            }
        } else if (field.number == kTensorType) {
            out.type = static_cast<std::int32_t>(take_varint(field.bytes));
        } else if (field.number == kTensorName) {
            out.name = std::string(field.bytes);
        } else if (field.number == kTensorExternal) {
            read_external(field.bytes, out);
        }
    }
    return out;
}

}  // namespace

std::vector<ExternalTensor> external_tensors(std::string_view model, const std::string& name) {
    std::vector<ExternalTensor> out;
    try {
        for (const Field& part : fields_of(model)) {
            for (const Field& field : fields_of(part.number == kModelGraph ? part.bytes : std::string_view())) {
                if (field.number == kGraphInitializer) {
                    out.push_back(read_tensor(field.bytes));
                    if (out.back().location.empty()) {
                        out.pop_back();
                    }
                }
            }
        }
    } catch (const Malformed&) {
        fail(ErrorCode::bundle, name, " is no ONNX model; export the bundle again");
    }
    return out;
}

}  // namespace sacvit::detail
