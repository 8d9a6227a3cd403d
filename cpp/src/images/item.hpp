// Images on their way to the engines. As `Item` in sacvit_deploy/scheduler.py.
#pragma once

#include <optional>
#include <string>

#include "config.hpp"
#include "images/preprocess.hpp"
#include "sacvit/sacvit.hpp"

namespace sacvit::detail {

// One image: its pixels, or the error it met.
struct Item {
    std::string source;
    Pixels pixels;
    std::optional<Error> error;
    Timing timing;
};

// Decodes and fits one image; an Error goes into the item.
Item prepare(const Source& source, const Config& config);

}  // namespace sacvit::detail
