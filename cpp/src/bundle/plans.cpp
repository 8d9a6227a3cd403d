#include "bundle/plans.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "bundle/seal.hpp"
#include "files.hpp"
#include "text.hpp"

namespace sacvit::detail {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

constexpr std::int64_t kSchema = 1;
constexpr std::size_t kLimit = 1 << 20;  // bytes; a larger file is no plan.json
constexpr const char* kRemedy = "build the plans anew";

struct RecordedPlan {
    FileEntry file;
    std::map<std::string, std::string> onnx;  // SHA-256 of the files it was built from, by name
};

struct Record {
    fs::path folder;
    std::string runtime, version, precision;
    std::vector<std::string> capabilities;
    std::optional<std::string> device{};  // none for a plan compiled in advance for all GPUs of its capabilities
    std::map<std::string, RecordedPlan> plans{};
};

void parse_record(const json& data, Record& out) {
    const json& target = data.at("place");
    out = {out.folder, target.at("runtime"), target.at("version"), data.at("precision"), target.at("capabilities")};
    if (!target.at("device").is_null()) {
        out.device = target.at("device").get<std::string>();
    }
    for (const auto& [role, plan] : data.at("plans").get_ref<const json::object_t&>()) {
        out.plans[role] = {parse_entry(plan.at("file"), out.folder.string()), plan.at("onnx")};
    }
    for (const char* role : {"ee", "sac"}) {
        if (!out.plans.count(role)) {
            fail(ErrorCode::usage, "it lists no ", role, " plan");
        }
    }
}

// The plan.json of every plan folder of a bundle, in the order of their names. Hidden folders are of builds under way,
// or of killed ones.
std::map<fs::path, std::string> read_records(const Bundle& bundle) {
    std::map<fs::path, std::string> out;
    std::error_code error, ignored;
    for (fs::directory_iterator at(fs::path(bundle.path) / "plans", error), end; !error && at != end;
         at.increment(error)) {
        const fs::path record = at->path() / "plan.json";
        if (at->path().filename().string()[0] != '.' && fs::exists(record, ignored)) {
            out[at->path()] = read_file(record.string(), ErrorCode::bundle, kLimit);
        }
    }
    return out;
}

std::vector<Record> parse_records(const std::map<fs::path, std::string>& records) {
    std::vector<Record> out;
    for (const auto& [folder, raw] : records) {
        out.push_back({folder, "", "", "", {}});
        parse_sealed(raw, kSchema, (folder / "plan.json").string(), kRemedy,
                     [&](const json& data) { parse_record(data, out.back()); });
    }
    return out;
}

// The first three numbers of a version, all that the library tells of itself. A plan runs in the very version that
// built it.
std::string release(const std::string& version) {
    std::size_t end = 0;
    for (int dots = 0; end < version.size() && (version[end] != '.' || ++dots < 3); ++end) {
    }
    return version.substr(0, end);
}

// Why a record's plans can't run here; empty if they can.
std::vector<std::string> incompatibilities(const Record& record, const Bundle& bundle, const BuildTarget& here) {
    std::vector<std::string> reasons;
    if (record.runtime != here.runtime || release(record.version) != release(here.version)) {
        reasons.push_back(
            text("built by ", record.runtime, ' ', record.version, ", here is ", here.runtime, ' ', here.version));
    }
    const std::vector<std::string>& built = record.capabilities;
    if (record.device) {
        if (*record.device != here.device || built != std::vector<std::string>{here.capability}) {
            reasons.push_back(text("built on ", *record.device, " (", joined(built), "), here is ", here.device, " (",
                                   here.capability, ")"));
        }
    } else if (std::find(built.begin(), built.end(), here.capability) == built.end()) {
        reasons.push_back(text("built for compute capability ", joined(built), ", this GPU has ", here.capability));
    }
    std::map<std::string, std::string> have;
    for (const auto& [precision, variant] : bundle.manifest.variants) {
        for (const auto& [role, entry] : variant.files) {
            have[entry.path] = entry.sha256;
        }
    }
    for (const auto& [role, plan] : record.plans) {
        for (const auto& [name, digest] : plan.onnx) {
            if (have[name] != digest) {
                reasons.push_back(text("built from another ", name, " than the bundle has now"));
                return reasons;
            }
        }
    }
    return reasons;
}

HeldFiles choose_plans(const std::vector<Record>& records, const Bundle& bundle, const std::string& precision,
                       const BuildTarget& here) {
    const std::string command =
        text("sacvit build ", bundle.path, " --runtime ", here.runtime, " --precision ", precision);
    bundle.variant(precision);
    std::string trouble;
    for (const Record& record : records) {
        if (record.precision != precision || record.runtime != here.runtime) {
            continue;
        }
        const std::vector<std::string> reasons = incompatibilities(record, bundle, here);
        if (!reasons.empty()) {
            trouble += text(trouble.empty() ? "" : "; ", "plans/", record.folder.filename().string(), " was ",
                            joined(reasons));
            continue;
        }
        HeldFiles out;
        for (const auto& [role, plan] : record.plans) {
            out[role] = hold_file(record.folder.string(), plan.file, "build it again with: " + command);
        }
        return out;
    }
    if (trouble.empty()) {
        trouble = text("it has no ", precision, " plans for ", here.runtime);
    }
    fail(ErrorCode::bundle, bundle.path, " can't run with ", here.runtime, " here: ", trouble,
         "; build them with: ", command);
}

}  // namespace

HeldFiles find_plans(const Bundle& bundle, const std::string& precision, const BuildTarget& here) {
    return despite_writers(
        bundle.path, [&] { return read_records(bundle); },
        [&](const auto& records) { return choose_plans(parse_records(records), bundle, precision, here); });
}

std::vector<std::string> precisions_with_plans(const Bundle& bundle, const BuildTarget& here) {
    std::vector<std::string> out;
    for (const Record& record : parse_records(read_records(bundle))) {
        if (incompatibilities(record, bundle, here).empty()) {
            out.push_back(record.precision);
        }
    }
    return out;
}

}  // namespace sacvit::detail
