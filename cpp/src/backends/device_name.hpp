// The device that a user names: cpu, cuda, cuda:N, webgpu, or an execution provider as ONNX Runtime lists it. As
// sacvit_deploy/backends/device_name.py.
#pragma once

#include <string>

namespace sacvit::detail {

struct DeviceName {
    std::string provider = "cpu";  // in lower case, without ONNX Runtime's suffix `ExecutionProvider`
    int number = 0;                // among the devices of that name

    bool is_cpu() const { return provider == "cpu"; }
};

// Reads a device's name; an empty one is the CPU. Throws Error (usage).
DeviceName parse_device(const std::string& name);

// The name that `parse_device` gives an execution provider of ONNX Runtime.
std::string device_of(const std::string& provider);

}  // namespace sacvit::detail
