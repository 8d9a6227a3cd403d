// The wire format of protobuf, as far as ONNX files need it: messages as lists of fields.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sacvit::detail {

// Thrown for bytes that are no message.
struct Malformed {};

// One field: its bytes, and among them those of its varint or of its length-delimited content.
struct Field {
    std::uint64_t number;
    std::string_view bytes, whole;
    bool delimited;
};

// Takes a varint off the beginning.
std::uint64_t take_varint(std::string_view& rest);

std::vector<Field> fields_of(std::string_view message);

// Appends a length-delimited field.
void put_field(std::string& out, std::uint64_t number, std::string_view bytes);

// Appends a field with a number from 0 up.
void put_number(std::string& out, std::uint64_t number, std::uint64_t value);

}  // namespace sacvit::detail
