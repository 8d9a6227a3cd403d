#include "trt_log.hpp"

#include <cstring>

namespace sacvit::detail {
namespace {

// An array needs no destructor, so a model that goes after the thread's other variables may still be told things.
thread_local char said[256];

class Logger final : public nvinfer1::ILogger {
public:
    void log(Severity severity, const char* message) noexcept override {
        if (severity <= Severity::kERROR && said[0] == '\0') {
            std::strncpy(said, message, sizeof said - 1);
        }
    }
};

}  // namespace

nvinfer1::ILogger& logger() {
    static Logger& only = *new Logger;
    return only;
}

std::string last_error() {
    const std::string all = said;
    return all.empty() ? "no reason given" : all.substr(0, all.find('\n'));
}

void forget() { said[0] = '\0'; }

}  // namespace sacvit::detail
