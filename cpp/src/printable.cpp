// Texts of strangers, such as labels and file names, as a terminal may show them.
#include <cstdint>

#include "sacvit/sacvit.hpp"
#include "text.hpp"

namespace sacvit {
namespace {

// How many bytes at the beginning of `rest` are a control character or a separator of lines, in UTF-8; 0 for others.
// The second block of control characters, U+0080 to U+009F, moves cursors, too.
std::size_t control(std::string_view rest) {
    const auto byte = [&](std::size_t at) { return at < rest.size() ? static_cast<std::uint8_t>(rest[at]) : 0; };
    if (byte(0) < 0x20 || byte(0) == 0x7F) {
        return 1;
    }
    if (byte(0) == 0xC2 && byte(1) >= 0x80 && byte(1) < 0xA0) {
        return 2;
    }
    return byte(0) == 0xE2 && byte(1) == 0x80 && (byte(2) == 0xA8 || byte(2) == 0xA9) ? 3 : 0;
}

// As Python's repr escapes it.
std::string escaped(std::string_view character) {
    switch (character[0]) {
        case '\n': return "\\n";
        case '\r': return "\\r";
        case '\t': return "\\t";
        default: break;
    }
    if (character.size() == 3) {
        return character[2] == '\xA8' ? "\\u2028" : "\\u2029";
    }
    return "\\x" + detail::hex(character.substr(character.size() - 1));
}

}  // namespace

std::string printable(const std::string& value) {
    std::string out;
    for (std::string_view rest = value; !rest.empty();) {
        const std::size_t size = control(rest);
        out += size == 0 ? std::string(1, rest[0]) : escaped(rest.substr(0, size));
        rest.remove_prefix(size == 0 ? 1 : size);
    }
    return out;
}

}  // namespace sacvit
