#include "backends/onnxruntime/plugins.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <map>
#include <mutex>
#include <string>

#include "backends/onnxruntime/failures.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

namespace fs = std::filesystem;

constexpr int kMinor = 23;  // of the first library that has all functions, 1.23

// Places in the table of functions, which only ever grows at its end.
constexpr std::size_t kValue = 297, kRegister = 301, kDevices = 303, kAppend = 304, kName = 312, kMetadata = 314,
                      kMemory = 374;
#if ORT_API_VERSION >= 23
#define SACVIT_PLACE(function, place) static_assert(offsetof(OrtApi, function) == (place) * sizeof(void*))
SACVIT_PLACE(GetKeyValue, kValue);
SACVIT_PLACE(RegisterExecutionProviderLibrary, kRegister);
SACVIT_PLACE(GetEpDevices, kDevices);
SACVIT_PLACE(SessionOptionsAppendExecutionProvider_V2, kAppend);
SACVIT_PLACE(EpDevice_EpName, kName);
SACVIT_PLACE(EpDevice_EpMetadata, kMetadata);
SACVIT_PLACE(EpDevice_MemoryInfo, kMemory);
#undef SACVIT_PLACE
#endif

template <typename Function>
void take(Function& function, std::size_t place) {
    const auto* const table = reinterpret_cast<void* const*>(&Ort::GetApi());
    function = reinterpret_cast<Function>(table[place]);
}

// The devices whose provider has this name.
std::vector<const OrtEpDevice*> listed(const OrtLibrary& library, const std::string& name) {
    const PluginApi api = plugin_api();
    const OrtEpDevice* const* devices = nullptr;
    std::size_t count = 0;
    Ort::ThrowOnError(api.devices(library.env, &devices, &count));
    std::vector<const OrtEpDevice*> out;
    std::copy_if(devices, devices + count, std::back_inserter(out),
                 [&](const OrtEpDevice* device) { return device_of(api.name(device)) == name; });
    return out;
}

// The plugin's file; empty if none was named and none is at its usual places.
std::string plugin_file(const OrtLibrary& library, const std::string& name, const std::string& wanted) {
    const std::string file = "libonnxruntime_providers_" + name + ".so";
    const char* const by_name = std::getenv("SACVIT_EP_LIBRARY");
    const std::string named = wanted.empty() && by_name != nullptr ? by_name : wanted;
    std::error_code ignored;
    if (!named.empty()) {
        const fs::path path = fs::is_directory(named, ignored) ? fs::path(named) / file : fs::path(named);
        if (!fs::is_regular_file(path, ignored)) {
            fail(ErrorCode::backend, "there is no execution provider at ", path.string(),
                 "; name its library with --ep or $SACVIT_EP_LIBRARY");
        }
        return fs::absolute(path).string();
    }
    const fs::path beside = fs::path(library.path).parent_path();
    for (const fs::path& path : {beside / file, beside / "../.." / ("onnxruntime_ep_" + name) / file}) {
        if (fs::is_regular_file(path, ignored)) {
            return fs::weakly_canonical(path).string();
        }
    }
    return {};
}

std::mutex guard;

}  // namespace

bool runs_plugins(const OrtLibrary& library) {
    int minor = 0;
    const std::string& version = library.version;
    const std::size_t dot = version.find('.') + 1;
    std::from_chars(version.data() + dot, version.data() + version.size(), minor);
    return version.rfind("1.", 0) != 0 || minor >= kMinor;
}

PluginApi plugin_api() {
    PluginApi out{};
    take(out.register_library, kRegister);
    take(out.devices, kDevices);
    take(out.append, kAppend);
    take(out.name, kName);
    take(out.metadata, kMetadata);
    take(out.memory, kMemory);
    take(out.value, kValue);
    return out;
}

std::vector<const OrtEpDevice*> find_plugin(const std::shared_ptr<OrtLibrary>& library, const std::string& name,
                                            const std::string& wanted) {
    const std::lock_guard<std::mutex> lock(guard);
    std::vector<const OrtEpDevice*> devices = listed(*library, name);
    if (!devices.empty()) {
        return devices;
    }
    const std::string file = plugin_file(*library, name, wanted);
    if (file.empty()) {
        return {};
    }
    // A plugin has threads and statics of its own: it stays loaded, and so must what it is registered with.
    static auto& registered = *new std::map<std::string, std::shared_ptr<OrtLibrary>>;
    if (registered.count(file) == 0) {
        guarded("ONNX Runtime " + library->version + " can't load " + file, [&] {
            Ort::ThrowOnError(plugin_api().register_library(library->env, ("sacvit " + file).c_str(), file.c_str()));
        });
        registered.emplace(file, library);
    }
    devices = listed(*library, name);
    if (devices.empty()) {
        if (name == "webgpu") {
            fail(ErrorCode::backend, no_adapter());
        }
        fail(ErrorCode::backend, file, " offers no device ", name, " here; is it the library of that provider?");
    }
    return devices;
}

}  // namespace sacvit::detail
