#include "seal.hpp"

#include "sha256.hpp"

namespace sacvit::detail {
namespace {

constexpr std::string_view kMark = "\"digest\": \"sha256:";
constexpr std::size_t kDigits = 64;

// Where the digest's digits stand; npos if there are none.
std::size_t find_digest(std::string_view raw) {
    for (std::size_t at = raw.find(kMark); at != raw.npos; at = raw.find(kMark, at + 1)) {
        const std::size_t digits = at + kMark.size();
        if (digits + kDigits < raw.size() && is_hash(raw.substr(digits, kDigits)) && raw[digits + kDigits] == '"') {
            return digits;
        }
    }
    return raw.npos;
}

}  // namespace

bool is_hash(std::string_view value) {
    return value.size() == kDigits && value.find_first_not_of("0123456789abcdef") == value.npos;
}

bool is_sealed(std::string_view raw) {
    const std::size_t digits = find_digest(raw);
    return digits != raw.npos && sha256({raw.substr(0, digits), std::string(kDigits, '0'),
                                         raw.substr(digits + kDigits)}) == raw.substr(digits, kDigits);
}

}  // namespace sacvit::detail
