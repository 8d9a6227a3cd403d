// The orientation that an image file states: how the camera was held.
#include "images/decode.hpp"

#include <cstdint>
#include <cstring>
#include <optional>

namespace sacvit::detail {
namespace {

constexpr unsigned kOrientation = 0x0112;

// A whole number in a TIFF structure, whose first letter tells the order of bytes; past the end there is none.
std::optional<std::uint32_t> integer(std::string_view tiff, std::uint64_t at, int bytes) {
    if (at + bytes > tiff.size()) {
        return std::nullopt;
    }
    std::uint32_t value = 0;
    for (int i = 0; i < bytes; ++i) {
        value = value << 8 | static_cast<std::uint8_t>(tiff[at + (tiff[0] == 'I' ? bytes - 1 - i : i)]);
    }
    return value;
}

// Size of one value of a TIFF type in bytes; 0 for unknown types.
int unit_size(std::uint32_t type) {
    constexpr int sizes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8};
    return type < sizeof sizes / sizeof *sizes ? sizes[type] : 0;
}

// The orientation tag's first value in the first directory, if there is one; 1 where it is no orientation, or the data
// no TIFF structure.
std::optional<int> read_directory(std::string_view tiff) {
    if (tiff.size() < 8) {
        return 1;
    }
    const std::string_view order = tiff.substr(0, 2), mark = tiff.substr(2, 2);
    if ((order != "II" && order != "MM") ||
        (mark != std::string_view("*\0", 2) && mark != std::string_view("\0*", 2))) {
        return 1;
    }
    std::uint64_t at = *integer(tiff, 4, 4);
    const auto count = integer(tiff, at, 2);
    at += 2;
    std::uint64_t total = 0;
    for (std::uint32_t entry = 0; count && entry < *count; ++entry, at += 12) {
        const auto tag = integer(tiff, at, 2), type = integer(tiff, at + 2, 2), values = integer(tiff, at + 4, 4);
        const auto offset = integer(tiff, at + 8, 4);
        if (!offset) {
            break;  // the file ends inside the directory
        }
        const int unit = unit_size(*type);
        const std::uint64_t size = static_cast<std::uint64_t>(*values) * static_cast<std::uint64_t>(unit);
        if (size == 0) {
            continue;
        }
        std::uint64_t where = at + 8;
        if (size > 4) {
            where = *offset;
            total += size;
            if (total > tiff.size()) {
                continue;
            }
            if (where + size > tiff.size()) {
                break;
            }
        }
        if (*tag != kOrientation) {
            continue;
        }
        // Signed types are read as unsigned ones: negative values are no orientation either way.
        const bool whole = *type == 3 || *type == 4 || *type == 6 || *type == 8 || *type == 9 || *type == 13;
        const std::uint32_t value = whole ? integer(tiff, where, unit).value_or(1) : 1;
        return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
    }
    return std::nullopt;
}

int read_xmp(std::string_view xmp) {
    for (std::size_t at = xmp.find("tiff:Orientation"); at != xmp.npos; at = xmp.find("tiff:Orientation", at + 1)) {
        std::string_view rest = xmp.substr(at + std::strlen("tiff:Orientation"));
        rest.remove_prefix(rest.substr(0, 2) == "=\"" ? 2 : rest.substr(0, 1) == ">" ? 1 : rest.size());
        if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') {
            return rest[0] - '0';
        }
    }
    return 1;
}

}  // namespace

int orientation(std::string_view exif, std::string_view xmp) {
    const std::string_view mark("Exif\0\0", 6);
    for (int i = 0; i < 2 && exif.substr(0, mark.size()) == mark; ++i) {
        exif.remove_prefix(mark.size());
    }
    if (!exif.empty()) {
        if (const std::optional<int> stated = read_directory(exif)) {
            return *stated;
        }
    }
    return read_xmp(xmp);
}

}  // namespace sacvit::detail
