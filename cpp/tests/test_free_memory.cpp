// Free memory as it looks in folders made here, against tests/golden/free_memory.json, which Python's tests read, too:
// argv is that file, and an empty folder's name.
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "check.hpp"
#include "images/budget.hpp"
#include "images/free_memory.hpp"

using namespace sacvit::detail;
using nlohmann::json;
namespace fs = std::filesystem;

int main(int, char** argv) {
    std::ifstream file(argv[1]);
    const fs::path root = argv[2];
    for (const json& entry : json::parse(file)) {
        fs::remove_all(root);
        fs::create_directories(root);
        for (const auto& [name, text] : entry["files"].items()) {
            fs::create_directories((root / name).parent_path());
            std::ofstream(root / name) << text.get<std::string>();
        }
        const std::optional<std::size_t> free = free_memory(root.string());
        EQUAL(free ? json(*free) : json(), entry["free"], entry["name"]);
        EQUAL(default_total(free), entry["total"], entry["name"]);
    }
    fs::remove_all(root);
    CHECK(free_memory().has_value());
    CHECK(limits().memory->each() <= default_total(std::nullopt));
    return check::result();
}
