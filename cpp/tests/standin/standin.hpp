// What the tests set and ask of the stand-ins.
#pragma once

#include <atomic>
#include <map>

namespace standin {

extern std::atomic<int> gpus;            // 0: none can be seen
extern std::atomic<bool> out_of_memory;  // the next calls for device memory fail
extern std::atomic<int> contexts;        // alive
extern std::atomic<long> device_blocks;  // alive
extern std::atomic<int> refuse_copies;   // that many of the next downloads fail
extern std::atomic<int> off_device;      // calls made while another GPU than the first was this thread's
extern std::atomic<int> refuse_calls;    // that many of the next calls fail

}  // namespace standin
