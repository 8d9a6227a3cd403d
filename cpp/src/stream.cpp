#include "stream.hpp"

#include <chrono>
#include <utility>

namespace sacvit {

using namespace detail;

Stream::Impl::Impl(std::shared_ptr<const Model::Opened> model_, NextSource sources, std::size_t batch_size_,
                   std::size_t workers, const StreamOptions& options, const Gate& gate)
    : model(std::move(model_)), batch_size(batch_size_), scheduler(model->scheduler(gate, batch_size)) {
    const Config& config = model->bundle.manifest.config;
    if (options.max_delay || options.keep == Keep::latest) {
        const std::chrono::duration<double> max_delay(options.max_delay.value_or(0));
        live.emplace(std::move(sources), config, model->bounds, options.keep, batch_size, max_delay, workers);
    } else {
        images.emplace(std::move(sources), config, model->bounds, 2 * batch_size, workers);
    }
}

void Stream::Impl::advance() {
    std::vector<Item> batch = next_batch();
    under_way = !batch.empty();
    scheduler.take(std::move(batch));
    if (ended || (live && !under_way)) {
        scheduler.finish();
    }
}

std::vector<Item> Stream::Impl::next_batch() {
    std::vector<Item> batch;
    try {
        if (live) {
            std::optional<std::vector<Item>> there = live->next(!under_way);
            ended = !there;
            return ended ? batch : std::move(*there);
        }
        while (batch.size() < batch_size && !ended) {
            std::optional<Item> item = images->next();
            ended = !item;
            if (item) {
                batch.push_back(std::move(*item));
            }
        }
    } catch (...) {
        failure = std::current_exception();  // the answers before it come first
        ended = true;
    }
    return batch;
}

Stream::Stream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;
Stream::~Stream() = default;

std::optional<Result> Stream::next() {
    for (;;) {
        if (std::optional<Answer> answer = impl_->scheduler.next()) {
            impl_->position = answer->item.position.value_or(0);
            return impl_->model->result(std::move(*answer));
        }
        if (impl_->ended) {
            if (const std::exception_ptr failure = std::exchange(impl_->failure, nullptr)) {
                std::rethrow_exception(failure);
            }
            return std::nullopt;
        }
        impl_->advance();
    }
}

std::size_t Stream::position() const { return impl_->position; }
std::size_t Stream::taken() const { return impl_->live ? impl_->live->taken() : impl_->images->taken(); }
std::size_t Stream::dropped() const { return impl_->live ? impl_->live->dropped() : 0; }

}  // namespace sacvit
