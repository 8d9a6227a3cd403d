// Quotas read from control groups as they look in folders made here: argv[1] is an empty folder's name.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "backends/cpu_quota.hpp"
#include "backends/machine.hpp"
#include "check.hpp"

using namespace sacvit::detail;
namespace fs = std::filesystem;

namespace {

using Files = std::map<std::string, std::string>;

// -1 where there is no quota.
double quota(const fs::path& folder, const std::string& membership, const Files& files) {
    fs::remove_all(folder);
    fs::create_directories(folder / "fs");
    std::ofstream(folder / "cgroup") << membership;
    for (const auto& [name, text] : files) {
        fs::create_directories((folder / "fs" / name).parent_path());
        std::ofstream(folder / "fs" / name) << text << '\n';
    }
    return cpu_quota((folder / "cgroup").string(), (folder / "fs").string()).value_or(-1);
}

Files version1(const std::string& folder, const std::string& quota) {
    return {{folder + "/cpu.cfs_quota_us", quota}, {folder + "/cpu.cfs_period_us", "100000"}};
}

void test_quotas(const fs::path& folder) {
    const std::string both = "4:memory:/\n3:cpu,cpuacct:/docker/4f1a\n1:name=systemd:/\n0::/docker/4f1a\n";
    EQUAL(quota(folder, "0::/\n", {{"cpu.max", "150000 100000"}}), 1.5);
    EQUAL(quota(folder, "0::/\n", {{"cpu.max", "max 100000"}}), -1);
    EQUAL(quota(folder, "0::/\n", {{"cpu.max", "100000 0"}}), -1);
    EQUAL(quota(folder, "0::/\n", {{"cpu.max", ""}}), -1);
    EQUAL(quota(folder, "0::/a/b\n", {{"a/b/cpu.max", "50000 100000"}}), 0.5);
    EQUAL(quota(folder, "0::/docker/4f1a\n", {{"cpu.max", "400000 200000"}}), 2);
    EQUAL(quota(folder, "0::/a/b\n", {{"a/b/cpu.max", "500000 100000"}, {"a/cpu.max", "300000 100000"}}), 3);
    EQUAL(quota(folder, "0::/../other\n", {{"cpu.max", "200000 100000"}}), 2);
    EQUAL(quota(folder, both, version1("cpu,cpuacct/docker/4f1a", "250000")), 2.5);
    EQUAL(quota(folder, both, version1("cpu", "500000")), 5);
    EQUAL(quota(folder, both, version1("cpu", "-1")), -1);
    EQUAL(quota(folder, "4:cpuset:/\n", version1("cpuset", "100000")), -1);
    EQUAL(quota(folder, "", {{"cpu.max", "100000 100000"}}), -1);
    CHECK(!cpu_quota((folder / "nothing").string(), folder.string()));
    fs::remove_all(folder);
}

void test_cores() {
    EQUAL(core_limit(8, std::nullopt, nullptr), 8);
    EQUAL(core_limit(8, 1.5, nullptr), 2);
    EQUAL(core_limit(8, 0.2, nullptr), 1);
    EQUAL(core_limit(2, 6.0, nullptr), 2);
    EQUAL(core_limit(8, 4.0, "2"), 2);
    EQUAL(core_limit(8, 4.0, "16"), 4);
    EQUAL(core_limit(8, std::nullopt, " 3 ,2"), 3);
    for (const char* nonsense : {"", "0", "-1", "all", "3x"}) {
        EQUAL(core_limit(8, std::nullopt, nonsense), 8);
    }
    ::setenv("OMP_NUM_THREADS", "1", 1);
    EQUAL(usable_cores(), 1);
}

}  // namespace

int main(int, char** argv) {
    test_quotas(argv[1]);
    test_cores();
    return check::result();
}
