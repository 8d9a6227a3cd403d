#include "bundle/protobuf.hpp"

namespace sacvit::detail {
namespace {

std::string_view take(std::string_view& rest, std::uint64_t count) {
    if (count > rest.size()) {
        throw Malformed{};
    }
    const std::string_view out = rest.substr(0, count);
    rest.remove_prefix(count);
    return out;
}

void put_varint(std::string& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) {
        out += static_cast<char>(0x80 | (value & 0x7F));
    }
    out += static_cast<char>(value);
}

}  // namespace

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
        std::string_view whole = message;
        const std::uint64_t key = take_varint(message);
        Field field{key >> 3, {}, {}, (key & 7) == 2};
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
        whole.remove_suffix(message.size());
        field.whole = whole;
        out.push_back(field);
    }
    return out;
}

void put_field(std::string& out, std::uint64_t number, std::string_view bytes) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes.size());
    out += bytes;
}

void put_number(std::string& out, std::uint64_t number, std::uint64_t value) {
    put_varint(out, number << 3);
    put_varint(out, value);
}

}  // namespace sacvit::detail
