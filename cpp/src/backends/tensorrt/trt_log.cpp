#include "backends/tensorrt/trt_log.hpp"

#include <cstring>

#include "text.hpp"

namespace sacvit::detail {
namespace {

// An array needs no destructor, so a model that goes after the thread's other variables may still log an error.
thread_local char first_error[256];

class Logger final : public nvinfer1::ILogger {
public:
    void log(Severity severity, const char* message) noexcept override {
        if (severity <= Severity::kERROR && first_error[0] == '\0') {
            std::strncpy(first_error, message, sizeof first_error - 1);
        }
    }
};

}  // namespace

nvinfer1::ILogger& logger() {
    static Logger& only = *new Logger;
    return only;
}

std::string last_error() { return first_error[0] == '\0' ? "no reason given" : first_line(first_error); }

void clear_errors() { first_error[0] = '\0'; }

}  // namespace sacvit::detail
