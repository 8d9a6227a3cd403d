// How the library throws: an error's kind, and its message put together from parts.
#pragma once

#include <sstream>
#include <string>

#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

template <typename... Parts>
std::string text(const Parts&... parts) {
    std::ostringstream out;
    out.precision(12);  // digits enough to show how a value misses its bound
    (out << ... << parts);
    return out.str();
}

template <typename... Parts>
[[noreturn]] void fail(ErrorCode code, const Parts&... parts) {
    throw Error(code, text(parts...));
}

}  // namespace sacvit::detail
