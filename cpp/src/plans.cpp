#include "plans.hpp"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "errors.hpp"
#include "files.hpp"
#include "seal.hpp"

namespace sacvit::detail {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

constexpr std::int64_t kSchema = 1;
constexpr std::size_t kLimit = 1 << 20;  // bytes; a larger file is no plan.json

struct RecordedPlan {
    FileEntry file;
    std::map<std::string, std::string> onnx;  // SHA-256 by name of the files it was built from
    std::vector<Profile> profiles;
};

struct Record {
    fs::path folder;
    std::string runtime, version, precision;
    std::optional<std::string> device;  // none for a plan compiled ahead of time for all GPUs of its capabilities
    std::vector<std::string> capabilities;
    std::map<std::string, RecordedPlan> plans;
};

std::string joined(const std::vector<std::string>& words) {
    std::string out;
    for (const std::string& word : words) {
        out += (out.empty() ? "" : ", ") + word;
    }
    return out;
}

std::string list_of(const Shape& shape) {
    std::vector<std::string> words;
    for (const std::int64_t length : shape) {
        words.push_back(std::to_string(length));
    }
    return "[" + joined(words) + "]";
}

RecordedPlan parse_plan(const json& data) {
    RecordedPlan out{parse_entry(data.at("file"), "plan.json"), data.at("onnx"), {}};
    for (const json& profile : data.at("profiles")) {
        Profile parsed;
        for (const auto& [name, shapes] : profile.get_ref<const json::object_t&>()) {
            parsed[name] = {shapes.at(0), shapes.at(2)};
        }
        out.profiles.push_back(std::move(parsed));
    }
    return out;
}

Record read_record(const fs::path& folder) {
    const std::string path = (folder / "plan.json").string();
    try {
        const std::string raw = File(path).read(kLimit + 1);
        const json data = json::parse(raw);
        if (raw.size() > kLimit || !data.is_object()) {
            fail(ErrorCode::usage, "it is no plan.json");
        }
        if (data.value("schema", 0) > kSchema) {
            fail(ErrorCode::bundle, path, " was written by a newer sacvit-deploy; upgrade sacvit-deploy, or build anew");
        }
        if (!is_sealed(raw)) {
            fail(ErrorCode::bundle, path, " was changed after the build; build the plans anew");
        }
        const json& place = data.at("place");
        Record out{folder, place.at("runtime"), place.at("version"), data.at("precision"), std::nullopt,
                   place.at("capabilities"), {}};
        if (!place.at("device").is_null()) {
            out.device = place.at("device").get<std::string>();
        }
        for (const auto& [role, plan] : data.at("plans").get_ref<const json::object_t&>()) {
            out.plans[role] = parse_plan(plan);
        }
        return out;
    } catch (const std::system_error& error) {
        fail(ErrorCode::bundle, "can't read ", path, ": ", reason(error.code().value()));
    } catch (const json::exception& error) {
        fail(ErrorCode::bundle, path, " is damaged (", detail_of(error), "); build the plans anew");
    } catch (const Error& error) {
        if (error.code() == ErrorCode::bundle) {
            throw;
        }
        fail(ErrorCode::bundle, path, " is damaged (", error.what(), "); build the plans anew");
    }
}

// Every plan folder of a bundle, in the order of their names.
std::vector<Record> list_plans(const Bundle& bundle) {
    std::vector<fs::path> folders;
    std::error_code error;
    for (fs::directory_iterator at(fs::path(bundle.path) / "plans", error), end; !error && at != end;
         at.increment(error)) {
        std::error_code ignored;
        if (fs::exists(at->path() / "plan.json", ignored)) {
            folders.push_back(at->path());
        }
    }
    std::sort(folders.begin(), folders.end());
    std::vector<Record> out;
    for (const fs::path& folder : folders) {
        out.push_back(read_record(folder));
    }
    return out;
}

// The first three numbers of a version: what the library tells of itself. A plan runs in the very version that built it.
std::string release(const std::string& version) {
    std::size_t end = 0;
    for (int dots = 0; end < version.size() && (version[end] != '.' || ++dots < 3); ++end) {
    }
    return version.substr(0, end);
}

// Why a record's plans can't run here; empty if they can.
std::vector<std::string> misfits(const Record& record, const Bundle& bundle, const Place& here) {
    std::vector<std::string> trouble;
    if (record.runtime != here.runtime || release(record.version) != release(here.version)) {
        trouble.push_back(text("built by ", record.runtime, ' ', record.version, ", here is ", here.runtime, ' ',
                               here.version));
    }
    const std::vector<std::string>& built = record.capabilities;
    if (record.device) {
        if (*record.device != here.device || built != std::vector<std::string>{here.capability}) {
            trouble.push_back(text("built on ", *record.device, ", here is ", here.device));
        }
    } else if (std::find(built.begin(), built.end(), here.capability) == built.end()) {
        trouble.push_back(text("built for compute capability ", joined(built), ", this GPU has ", here.capability));
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
                trouble.push_back(text("built from another ", name, " than the bundle has now"));
                return trouble;
            }
        }
    }
    return trouble;
}

// How many numbers the largest inputs that a profile allows have.
double volume(const Profile& profile) {
    double out = 0;
    for (const auto& [name, shapes] : profile) {
        double values = 1;
        for (const std::int64_t length : shapes.second) {
            values *= static_cast<double>(length);
        }
        out += values;
    }
    return out;
}

bool within(const Shape& shape, const std::pair<Shape, Shape>& allowed) {
    const auto& [least, greatest] = allowed;
    if (shape.size() != least.size() || shape.size() != greatest.size()) {
        return false;
    }
    for (std::size_t i = 0; i < shape.size(); ++i) {
        if (shape[i] < least[i] || shape[i] > greatest[i]) {
            return false;
        }
    }
    return true;
}

}  // namespace

std::map<std::string, Plan> find_plans(const Bundle& bundle, const std::string& precision, const Place& here) {
    const std::string command = text("sacvit build ", bundle.path, " --runtime ", here.runtime, " --precision ",
                                     precision);
    bundle.variant(precision);
    std::string trouble;
    for (const Record& record : list_plans(bundle)) {
        if (record.precision != precision || record.runtime != here.runtime) {
            continue;
        }
        const std::vector<std::string> found = misfits(record, bundle, here);
        if (!found.empty()) {
            trouble += text(trouble.empty() ? "" : "; ", "plans/", record.folder.filename().string(), " was ",
                            joined(found));
            continue;
        }
        std::map<std::string, Plan> out;
        for (const auto& [role, plan] : record.plans) {
            out[role] = {check_file(record.folder.string(), plan.file, "build it again with: " + command),
                         plan.profiles};
        }
        return out;
    }
    if (trouble.empty()) {
        trouble = text("it has no ", precision, " plans for ", here.runtime);
    }
    fail(ErrorCode::bundle, bundle.path, " can't run with ", here.runtime, " here: ", trouble, "; build them with: ",
         command);
}

std::vector<std::string> precisions_with_plans(const Bundle& bundle, const Place& here) {
    std::vector<std::string> out;
    for (const Record& record : list_plans(bundle)) {
        if (misfits(record, bundle, here).empty()) {
            out.push_back(record.precision);
        }
    }
    return out;
}

std::size_t choose_profile(const std::vector<Profile>& profiles, const std::map<std::string, Shape>& shapes,
                           const std::string& name) {
    const auto narrower = [](const Profile& a, const Profile& b) { return volume(a) < volume(b); };
    const auto allows = [&](const Profile& profile) {
        return std::all_of(profile.begin(), profile.end(), [&](const auto& input) {
            const auto given = shapes.find(input.first);
            return given != shapes.end() && within(given->second, input.second);
        });
    };
    std::size_t best = profiles.size();
    for (std::size_t i = 0; i < profiles.size(); ++i) {
        if (allows(profiles[i]) && (best == profiles.size() || narrower(profiles[i], profiles[best]))) {
            best = i;
        }
    }
    if (best < profiles.size()) {
        return best;
    }
    const auto widest = std::max_element(profiles.begin(), profiles.end(), narrower);
    if (widest == profiles.end()) {
        fail(ErrorCode::backend, name, " has no profile; build the plans anew");
    }
    for (const auto& [input, allowed] : *widest) {
        const auto given = shapes.find(input);
        if (given == shapes.end()) {
            fail(ErrorCode::backend, name, " asks for `", input, "`, which this stage is not given");
        }
        if (!within(given->second, allowed)) {
            fail(ErrorCode::backend, name, " takes `", input, "` of ", list_of(allowed.first), " to ",
                 list_of(allowed.second), ", not ", list_of(given->second),
                 "; ask for another batch or alpha, or build plans with another --batch or --alpha");
        }
    }
    fail(ErrorCode::backend, name, " has no profile for these shapes");
}

}  // namespace sacvit::detail
