// How the library throws: one function for each kind of error, the message put together from its parts.
#pragma once

#include <sstream>
#include <string>

#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

template <typename... Parts>
std::string text(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return out.str();
}

template <typename... Parts>
[[noreturn]] void fail(ErrorCode code, const Parts&... parts) {
    throw Error(code, text(parts...));
}

// A floating-point number as Python prints it, so that both runtimes say the same.
std::string number(double value);

}  // namespace sacvit::detail
