// What a model opens, and streams keep: a bundle and its engines.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bundle/bundle.hpp"
#include "cascade.hpp"
#include "images/budget.hpp"
#include "sacvit/sacvit.hpp"
#include "scheduler.hpp"

namespace sacvit {

// An open bundle and its engines.
struct Model::Opened {
    Opened(const std::string& path, const Options& options);

    detail::Bundle bundle;
    std::shared_ptr<const std::vector<std::string>> labels;
    std::string precision;
    std::unique_ptr<detail::Cascade> cascade;
    std::string description;
    detail::Limits bounds;  // for one image

    detail::Scheduler scheduler(const Gate& gate, std::size_t batch_size) const;
    Result result(detail::Answer answer) const;
};

}  // namespace sacvit
