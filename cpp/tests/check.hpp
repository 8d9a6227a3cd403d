// Checks that report a failure and go on.
#pragma once

#include <cmath>
#include <cstdio>
#include <functional>
#include <sstream>
#include <string>

#include "sacvit/sacvit.hpp"

namespace check {

inline int failures = 0;
inline int passes = 0;

template <typename... Parts>
void fail(const char* file, int line, const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    std::fprintf(stderr, "%s:%d: %s\n", file, line, out.str().c_str());
    ++failures;
}

// Runs the body, which must throw an Error of that code whose message has those words in it.
inline void refuses(const char* file, int line, sacvit::ErrorCode code, const std::string& words,
                    const std::function<void()>& body) {
    try {
        body();
    } catch (const sacvit::Error& error) {
        const std::string message = error.what();
        if (error.code() != code || message.find(words) == message.npos || message.find('\n') != message.npos) {
            fail(file, line, "expected error ", static_cast<int>(code), " with `", words, "`, found ",
                 static_cast<int>(error.code()), " `", message, "`");
        }
        ++passes;
        return;
    }
    fail(file, line, "expected error ", static_cast<int>(code), " with `", words, "`, found none");
}

inline int result() {
    std::printf("%d checks passed, %d failed\n", passes, failures);
    return failures == 0 && passes > 0 ? 0 : 1;
}

}  // namespace check

#define CHECK(condition, ...) \
    ((condition) ? void(++check::passes) : check::fail(__FILE__, __LINE__, #condition " ", ##__VA_ARGS__))
#define EQUAL(actual, expected, ...) \
    ((actual) == (expected)          \
         ? void(++check::passes)     \
         : check::fail(__FILE__, __LINE__, #actual " is ", actual, ", expected ", expected, " ", ##__VA_ARGS__))
#define REFUSES(code, words, ...) \
    check::refuses(__FILE__, __LINE__, sacvit::ErrorCode::code, words, [&] { __VA_ARGS__; })
