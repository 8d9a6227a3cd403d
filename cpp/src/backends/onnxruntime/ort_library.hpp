// libonnxruntime, loaded at run time: one binary serves every version from 1.21 on.
#pragma once

#include <memory>
#include <string>

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>
#undef ORT_API_MANUAL_INIT

#include "backends/onnxruntime/failures.hpp"
#include "text.hpp"

namespace sacvit::detail {

// The loaded library and its environment, shared by all models of the process and released with the last of them.
struct OrtLibrary {
    std::string version, path;  // path: the file it was loaded from
    Ort::Env env{nullptr};
};

// Runs `call`; an exception of the library becomes an Error (backend): `failure`, and what is known of it, or the
// library's first line in brackets.
template <typename Call>
auto guarded(const std::string& failure, const Call& call) {
    try {
        return call();
    } catch (const Ort::Exception& error) {
        if (const std::string known = device_failure(error.what()); !known.empty()) {
            fail(ErrorCode::backend, failure, ": ", known);
        }
        fail(ErrorCode::backend, failure, " (", first_line(error.what()).substr(0, 200), ")");
    }
}

// Calls a function of the C API that creates an object; the owner releases it.
template <typename Object>
std::unique_ptr<Object, void (*)(Object*)> owned(OrtStatus* (*create)(Object**), void (*release)(Object*)) {
    Object* object = nullptr;
    Ort::ThrowOnError(create(&object));
    return {object, release};
}

// Loads the library. `wanted` is a file, a folder it is in, or empty for $SACVIT_ORT_LIBRARY, $ORT_ROOT, and the
// system's, in this order. Throws Error (backend).
std::shared_ptr<OrtLibrary> load_ort(const std::string& wanted);

}  // namespace sacvit::detail
