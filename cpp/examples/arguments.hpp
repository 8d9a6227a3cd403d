// The command line of sacvit_infer.
#pragma once

#include <string>
#include <vector>

#include "sacvit/sacvit.hpp"

struct Arguments {
    std::vector<std::string> images;
    std::string bundle;
    sacvit::Options options;
    sacvit::Gate gate;
    int topk = 1;
    int batch = 32;
    bool json = false;
    bool help = false;
};

// Throws sacvit::Error (usage).
Arguments parse_arguments(int argc, char** argv);

extern const char* const kUsage;
