// A stream: images from somebody's sources through a scheduler, answers in their order.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

#include "images/live_source.hpp"
#include "images/prefetch.hpp"
#include "opened.hpp"

namespace sacvit {

// What a stream is made of.
struct Stream::Impl {
    Impl(std::shared_ptr<const Model::Opened> model_, detail::NextSource sources, std::size_t batch_size_,
         std::size_t workers, const StreamOptions& options, const Gate& gate);

    // Gives the scheduler what comes next.
    void advance();
    std::vector<detail::Item> next_batch();

    std::shared_ptr<const Model::Opened> model;
    std::size_t batch_size;
    detail::Scheduler scheduler;
    std::optional<detail::Prefetch> images;  // one of the two
    std::optional<detail::LiveSource> live;
    bool under_way = false;  // live images that may be waiting for stage 2
    std::size_t position = 0;
    bool ended = false;
    std::exception_ptr failure;  // of the sources
};

}  // namespace sacvit
