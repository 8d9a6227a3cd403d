// libonnxruntime, loaded at run time: one binary serves every version from 1.21 on.
#pragma once

#include <memory>
#include <string>

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>
#undef ORT_API_MANUAL_INIT

#include "text.hpp"

namespace sacvit::detail {

// The loaded library and its environment, shared by all models of the process and released with the last of them.
struct OrtLibrary {
    std::string version;
    Ort::Env env{nullptr};
};

// Runs `call`; an exception of the library becomes an Error (backend): `failure`, and the library's first line in
// brackets.
template <typename Call>
auto guarded(const std::string& failure, const Call& call) {
    try {
        return call();
    } catch (const Ort::Exception& error) {
        fail(ErrorCode::backend, failure, " (", first_line(error.what()).substr(0, 200), ")");
    }
}

// Loads the library. `wanted` is a file, a folder it is in, or empty for $SACVIT_ORT_LIBRARY, $ORT_ROOT, and the
// system's, in this order. Throws Error (backend).
std::shared_ptr<OrtLibrary> load_ort(const std::string& wanted);

}  // namespace sacvit::detail
