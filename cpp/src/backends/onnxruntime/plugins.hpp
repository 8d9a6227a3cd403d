// Execution providers that come as libraries of their own, plugins, and the devices that they offer.
#pragma once

#include <string>
#include <vector>

#include "backends/device_name.hpp"
#include "backends/onnxruntime/ort_library.hpp"

#if ORT_API_VERSION < 22
struct OrtEpDevice;
struct OrtKeyValuePairs;
#endif

namespace sacvit::detail {

// The functions of the C interface that plugins take. The headers that this is compiled with may lack them.
struct PluginApi {
    OrtStatus* (*register_library)(OrtEnv*, const char* name, const char* path);
    OrtStatus* (*devices)(const OrtEnv*, const OrtEpDevice* const** devices, std::size_t* count);
    OrtStatus* (*append)(OrtSessionOptions*, OrtEnv*, const OrtEpDevice* const* devices, std::size_t count,
                         const char* const* keys, const char* const* values, std::size_t options);
    const char* (*name)(const OrtEpDevice*);
    const OrtKeyValuePairs* (*metadata)(const OrtEpDevice*);
    const OrtMemoryInfo* (*memory)(const OrtEpDevice*, int kind);
    const char* (*value)(const OrtKeyValuePairs*, const char* key);
};

// Whether the loaded library has these functions: from 1.23 on.
bool runs_plugins(const OrtLibrary& library);

// The functions of the loaded library, which must have them.
PluginApi plugin_api();

// The devices of an execution provider, which stay as long as the process; none where the library has no provider of
// this name. Where no loaded plugin has it, one is searched for: `wanted`, a file or its folder, or, where that is
// empty, $SACVIT_EP_LIBRARY, then libonnxruntime_providers_NAME.so beside libonnxruntime and in the folder of the
// Python package onnxruntime_ep_NAME. Throws Error (backend).
std::vector<const OrtEpDevice*> find_plugin(const std::shared_ptr<OrtLibrary>& library, const std::string& name,
                                            const std::string& wanted);

}  // namespace sacvit::detail
