#include "bundle/onnx_weights.hpp"

#include <cstdlib>
#include <optional>

#include "errors.hpp"

namespace sacvit::detail {
namespace {

struct Malformed {};

// One protobuf field: a number, or a range of bytes.
struct Field {
    std::uint32_t number;
    std::uint64_t value;     // of a varint
    std::string_view bytes;  // of a length-delimited field
    bool is_bytes;
};

// Reads a protobuf message field by field.
class Message {
public:
    explicit Message(std::string_view bytes) : rest_(bytes) {}

    std::optional<Field> next() {
        if (rest_.empty()) {
            return std::nullopt;
        }
        const std::uint64_t key = varint();
        Field field{static_cast<std::uint32_t>(key >> 3), 0, {}, (key & 7) == 2};
        switch (key & 7) {
            case 0: field.value = varint(); break;
            case 1: skip(8); break;
            case 2: field.bytes = skip(varint()); break;
            case 5: skip(4); break;
            default: throw Malformed{};
        }
        return field;
    }

    std::uint64_t varint() {
        std::uint64_t value = 0;
        for (int shift = 0; shift < 64; shift += 7) {
            const auto byte = static_cast<std::uint8_t>(skip(1)[0]);
            value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
            if (byte < 0x80) {
                return value;
            }
        }
        throw Malformed{};
    }

    bool done() const { return rest_.empty(); }

private:
    std::string_view skip(std::uint64_t count) {
        if (count > rest_.size()) {
            throw Malformed{};
        }
        const std::string_view out = rest_.substr(0, count);
        rest_.remove_prefix(count);
        return out;
    }

    std::string_view rest_;
};

// Field numbers of onnx.proto.
constexpr std::uint32_t kModelGraph = 7, kGraphInitializer = 5;
constexpr std::uint32_t kTensorDims = 1, kTensorType = 2, kTensorName = 8, kTensorExternal = 13;
constexpr std::uint32_t kEntryKey = 1, kEntryValue = 2;

void read_external(std::string_view bytes, ExternalTensor& out) {
    std::string key, value;
    for (Message message(bytes); const auto field = message.next();) {
        if (field->number == kEntryKey || field->number == kEntryValue) {
            (field->number == kEntryKey ? key : value) = std::string(field->bytes);
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

ExternalTensor read_tensor(std::string_view bytes) {
    ExternalTensor out;
    for (Message message(bytes); const auto field = message.next();) {
        if (field->number == kTensorDims && field->is_bytes) {
            for (Message packed(field->bytes); !packed.done();) {
                out.shape.push_back(static_cast<std::int64_t>(packed.varint()));
            }
        } else if (field->number == kTensorDims) {
            out.shape.push_back(static_cast<std::int64_t>(field->value));
        } else if (field->number == kTensorType) {
            out.type = static_cast<std::int32_t>(field->value);
        } else if (field->number == kTensorName) {
            out.name = std::string(field->bytes);
        } else if (field->number == kTensorExternal) {
            read_external(field->bytes, out);
        }
    }
    return out;
}

}  // namespace

std::vector<ExternalTensor> external_tensors(std::string_view model, const std::string& name) {
    std::vector<ExternalTensor> out;
    try {
        for (Message message(model); const auto field = message.next();) {
            if (field->number != kModelGraph) {
                continue;
            }
            for (Message graph(field->bytes); const auto part = graph.next();) {
                if (part->number != kGraphInitializer) {
                    continue;
                }
                ExternalTensor tensor = read_tensor(part->bytes);
                if (!tensor.location.empty()) {
                    out.push_back(std::move(tensor));
                }
            }
        }
    } catch (const Malformed&) {
        fail(ErrorCode::bundle, name, " is no ONNX model; export the bundle again");
    }
    return out;
}

}  // namespace sacvit::detail
