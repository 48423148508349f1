// What encryption costs: the same work with and without it, in turns, in one run: `cost FOLDER`.
//
// All of it fits into the page cache, nothing is compressed, and the block cache is small: so no disk hides the cost.
#include "common.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <random>

static const unsigned kKeys = 150000, kReads = 150000, kValue = 400, kRounds = 7;
static const char *const kWork[] = {"fill at random", "compact", "read at random", "read in order"};

static std::string Key(unsigned number) {
    char key[32];
    std::snprintf(key, sizeof key, "key-%012u", number);
    return key;
}

// Seconds that passed, and seconds of all processors, background threads included: on a busy machine only these tell.
struct Seconds {
    double passed, processor;

    static Seconds Now() {
        const auto now = std::chrono::steady_clock::now().time_since_epoch();
        return {std::chrono::duration<double>(now).count(), static_cast<double>(std::clock()) / CLOCKS_PER_SEC};
    }
};

// For each work.
static std::vector<Seconds> Run(const std::string &folder, const std::shared_ptr<rocksdb::FileSystem> &files) {
    rocksdb::Options options = BaseOptions();
    options.write_buffer_size = 8 << 20;
    options.target_file_size_base = 8 << 20;
    Database database;
    Ok(database.Open(folder, files, options), "opening");
    std::mt19937 random(7);
    std::string value(kValue, 'v');
    std::vector<Seconds> seconds;
    Seconds start = Seconds::Now();
    const auto lap = [&] {
        const Seconds now = Seconds::Now();
        seconds.push_back({now.passed - start.passed, now.processor - start.processor});
        start = now;
    };
    for (unsigned i = 0; i < kKeys; i++) {
        std::memcpy(&value[0], &i, sizeof i);
        Ok(database.db->Put({}, database.families[0], Key(random() % kKeys), value), "putting");
    }
    Ok(database.db->Flush({}, database.families[0]), "flushing");
    lap();
    Ok(database.db->CompactRange({}, database.families[0], nullptr, nullptr), "compacting");
    lap();
    for (unsigned i = 0; i < kReads; i++) {
        const rocksdb::Status status = database.db->Get({}, database.families[0], Key(random() % kKeys), &value);
        CHECK(status.ok() || status.IsNotFound(), "%s", status.ToString().c_str());
    }
    lap();
    std::unique_ptr<rocksdb::Iterator> entry(database.db->NewIterator({}, database.families[0]));
    size_t bytes = 0;
    for (entry->SeekToFirst(); entry->Valid(); entry->Next()) bytes += entry->value().size();
    CHECK(bytes > kKeys * kValue / 2, "%zu bytes", bytes);
    lap();
    return seconds;
}

int main(int argc, char **argv) {
    CHECK(argc == 2, "cost FOLDER");
    const std::string folder = argv[1];
    const Vault vault(folder + "/keys.vault");
    std::vector<Seconds> best[2];
    for (unsigned round = 0; round < kRounds; round++) {
        for (int encrypted = 0; encrypted < 2; encrypted++) {
            const std::string db = folder + "/db";
            const std::vector<Seconds> seconds = Run(db, encrypted ? EncryptedFileSystem(vault, kContext) : nullptr);
            std::filesystem::remove_all(db);
            if (best[encrypted].empty()) best[encrypted] = seconds;
            for (size_t i = 0; i < seconds.size(); i++) {
                Seconds &least = best[encrypted][i];
                least.passed = std::min(least.passed, seconds[i].passed);
                least.processor = std::min(least.processor, seconds[i].processor);
            }
        }
    }
    std::printf("%u keys with values of %u bytes; the best of %u rounds, in seconds\n", kKeys, kValue, kRounds);
    std::printf("%-16s %10s %10s %8s %14s %10s %8s\n", "", "plain", "encrypted", "ratio", "CPU: plain", "encrypted",
                "ratio");
    for (size_t i = 0; i < best[0].size(); i++) {
        const Seconds &plain = best[0][i], &encrypted = best[1][i];
        std::printf("%-16s %10.3f %10.3f %8.2f %14.3f %10.3f %8.2f\n", kWork[i], plain.passed, encrypted.passed,
                    encrypted.passed / plain.passed, plain.processor, encrypted.processor,
                    encrypted.processor / plain.processor);
    }

    // What a file more costs: its DEK is wrapped, and unwrapped to see that it can be.
    const auto files = EncryptedFileSystem(vault, kContext);
    const double start = Seconds::Now().passed;
    const int count = 50;
    for (int i = 0; i < count; i++) {
        std::unique_ptr<rocksdb::FSWritableFile> file;
        Ok(files->NewWritableFile(folder + "/one", rocksdb::FileOptions(), &file, nullptr), "making a file");
    }
    const double each = (Seconds::Now().passed - start) / count;
    std::printf("to make a file: %.2f ms\n", each * 1000);
}
