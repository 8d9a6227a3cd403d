#include "backends/onnxruntime/ort_library.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <vector>

#include "text.hpp"

namespace sacvit::detail {
namespace {

namespace fs = std::filesystem;

constexpr const char* kInstall =
    "name libonnxruntime.so or the folder it is in with --ort, $SACVIT_ORT_LIBRARY or $ORT_ROOT "
    "(Python's wheel has it in onnxruntime/capi)";

// A file's own path; for a folder, the library in it or in the usual places below it. Empty if there is none.
std::string resolve(const std::string& path) {
    std::error_code ignored;
    if (!fs::is_directory(path, ignored)) {
        return path;
    }
    for (const char* below : {"", "lib", "lib64", "capi", "onnxruntime/capi"}) {
        std::vector<std::string> libraries;
        for (const auto& entry : fs::directory_iterator(fs::path(path) / below, ignored)) {
            if (entry.path().filename().string().rfind("libonnxruntime.so", 0) == 0) {
                libraries.push_back(entry.path().string());
            }
        }
        if (!libraries.empty()) {
            return *std::min_element(libraries.begin(), libraries.end());
        }
    }
    return {};
}

std::vector<std::string> candidates(const std::string& wanted) {
    const char *const by_name = std::getenv("SACVIT_ORT_LIBRARY"), *const root = std::getenv("ORT_ROOT");
    for (const char* named : {wanted.c_str(), by_name, root}) {
        if (named == nullptr || *named == '\0') {
            continue;
        }
        const std::string path = resolve(named);
        if (path.empty()) {
            fail(ErrorCode::backend, "there is no libonnxruntime.so in ", named, "; ", kInstall);
        }
        return {path};
    }
    return {"libonnxruntime.so.1", "libonnxruntime.so"};
}

// Since 1.29 the library reports its use to its maker over the network, and keeps a device's number under the home
// folder, unless this variable tells it not to before it is loaded. Returns false where the user has set it to another
// wish.
bool silence() {
    ::setenv("ORT_DISABLE_TELEMETRY", "1", 0);
    const std::string wish = std::getenv("ORT_DISABLE_TELEMETRY");
    return wish != "0";
}

// The library stays loaded: it has threads and statics of its own, which no unloading would survive.
void* open(const std::string& wanted) {
    std::string reason;
    for (const std::string& path : candidates(wanted)) {
        if (void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
            return handle;
        }
        const char* error = ::dlerror();
        reason = reason.empty() ? (error == nullptr ? path : error) : reason;
    }
    fail(ErrorCode::backend, "ONNX Runtime can't be loaded (", reason, "); ", kInstall);
}

std::mutex guard;
void* loaded = nullptr;             // the process's library
std::weak_ptr<OrtLibrary> current;  // its environment, while a model lives

}  // namespace

std::shared_ptr<OrtLibrary> load_ort(const std::string& wanted) {
    const std::lock_guard<std::mutex> lock(guard);
    const bool quiet = silence();
    void* const handle = loaded != nullptr && wanted.empty() ? loaded : open(wanted);
    if (loaded != nullptr && handle != loaded) {
        fail(ErrorCode::backend, "this process has loaded another ONNX Runtime than ", wanted, "; it can have one");
    }
    using GetBase = const OrtApiBase* (*)();
    const auto get_base = reinterpret_cast<GetBase>(::dlsym(handle, "OrtGetApiBase"));
    if (get_base == nullptr) {
        fail(ErrorCode::backend, wanted.empty() ? "the library" : wanted, " is no ONNX Runtime; ", kInstall);
    }
    const std::string version = get_base()->GetVersionString();
    const OrtApi* const api = get_base()->GetApi(ORT_API_VERSION);
    if (api == nullptr) {
        fail(ErrorCode::backend, "ONNX Runtime ", version, " is too old; 1.", ORT_API_VERSION, " or later is needed");
    }
    loaded = handle;
    if (std::shared_ptr<OrtLibrary> library = current.lock()) {
        return library;
    }
    Ort::InitApi(api);
    auto library = std::make_shared<OrtLibrary>();
    library->version = version;
    if (Dl_info place; ::dladdr(reinterpret_cast<void*>(get_base), &place) != 0 && place.dli_fname != nullptr) {
        library->path = place.dli_fname;
    }
    guarded("ONNX Runtime " + version + " does not start", [&] {
        library->env = Ort::Env(ORT_LOGGING_LEVEL_FATAL, "sacvit");
        if (quiet) {
            library->env.DisableTelemetryEvents();
        }
    });
    current = library;
    return library;
}

}  // namespace sacvit::detail
