// The command line of sacvit_infer, and the images and the bundle that it names, found by the rules of the Python
// command.
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

// Paths of the images that the arguments name: files, folders, and globs; sorted within each argument. Throws
// sacvit::Error (usage) for a folder or glob without images; a file that does not exist is reported later.
std::vector<std::string> expand(const std::vector<std::string>& arguments);

// The bundle named by $SACVIT_BUNDLE, else the one in the nearest place that has one: the current folder, the images'
// folders, the folders above those. Throws sacvit::Error (bundle).
std::string find_bundle(const std::vector<std::string>& images);

extern const char* const kUsage;
