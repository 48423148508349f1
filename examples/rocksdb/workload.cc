// A database that is filled, compacted, killed, recovered, rotated and searched for plaintext: `workload FOLDER`.
#include "common.h"

#include <rocksdb/sst_file_writer.h>
#include <rocksdb/utilities/checkpoint.h>

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <thread>

namespace fs = std::filesystem;
using rocksdb::Status;
using Encrypted = std::shared_ptr<atrest_rocksdb::FileSystem>;

// --- Contents: a model of each column family, from key to version.

using Model = std::map<unsigned, unsigned>;

static std::string Key(unsigned number) {
    char key[32];
    std::snprintf(key, sizeof key, "plain-key-%08u", number);
    return key;
}

static std::string Value(unsigned number, unsigned version, size_t family) {
    char text[64];
    std::snprintf(text, sizeof text, "plain-value-%08u-%08u;", number, version);
    std::string value;
    const size_t len = family == 0 ? 40 + number % 300 : 1000 + number % 5000;
    while (value.size() < len) value += text;
    return value;
}

struct Contents {
    Model models[2];
    std::mt19937 random{7};

    void Change(Database &database, unsigned count) {
        for (unsigned i = 0; i < count; i++) {
            const size_t family = random() % 8 == 0;
            const unsigned number = random() % (family ? 2000 : 20000);
            Model &model = models[family];
            if (random() % 10 == 0) {
                model.erase(number);
                Ok(database.db->Delete({}, database.families[family], Key(number)), "deleting");
            } else {
                Put(database, number, ++model[number], family);
            }
        }
    }
    static void Put(Database &database, unsigned number, unsigned version, size_t family, bool sync = false) {
        rocksdb::WriteOptions options;
        options.sync = sync;
        Ok(database.db->Put(options, database.families[family], Key(number), Value(number, version, family)), "putting");
    }
    // By iterators, and some by random reads.
    void Verify(Database &database) const {
        for (size_t family = 0; family < 2; family++) {
            const Model &model = models[family];
            std::unique_ptr<rocksdb::Iterator> entry(database.db->NewIterator({}, database.families[family]));
            entry->SeekToFirst();
            for (const auto &[number, version] : model) {
                CHECK(entry->Valid(), "it ends before key %u: %s", number, entry->status().ToString().c_str());
                CHECK(entry->key() == Key(number), "%s for %u", entry->key().ToString().c_str(), number);
                CHECK(entry->value() == Value(number, version, family), "the value of %u", number);
                entry->Next();
            }
            CHECK(!entry->Valid() && entry->status().ok(), "there is more: %s", entry->status().ToString().c_str());
            unsigned at = 0;
            for (auto found = model.begin(); found != model.end(); ++found) {
                if (++at % 17) continue;
                std::string value;
                Ok(database.db->Get({}, database.families[family], Key(found->first), &value), "getting");
                CHECK(value == Value(found->first, found->second, family), "the value of %u", found->first);
            }
        }
    }
};

// Small files, so that there are many.
static rocksdb::Options SmallFiles() {
    rocksdb::Options options = BaseOptions();
    options.write_buffer_size = 256 << 10;
    options.target_file_size_base = 256 << 10;
    options.max_bytes_for_level_base = 1 << 20;
    options.level0_file_num_compaction_trigger = 2;
    options.info_log_level = rocksdb::DEBUG_LEVEL;
    return options;
}

// --- Files as they are on the disk.

static std::vector<std::string> Files(const std::string &folder) {
    std::vector<std::string> files;
    for (const auto &entry : fs::recursive_directory_iterator(folder)) {
        if (entry.is_regular_file()) files.push_back(entry.path());
    }
    return files;
}

// Every nonce that was ever seen on the disk, and the file that it was in. A DEK is made with a nonce, in one call.
struct Nonces {
    std::map<std::string, ino_t> inode_of;
    size_t seen = 0;

    void Look(const std::string &folder) {
        for (const std::string &path : Files(folder)) {
            struct stat info;
            const std::string raw = Raw(path);
            if (raw.size() < ATREST_FILE_PREFIX_SIZE || stat(path.c_str(), &info) != 0) continue;
            CHECK(raw.compare(0, 8, "atrestFP") == 0, "%s isn't encrypted", path.c_str());
            const auto [found, is_new] = inode_of.emplace(raw.substr(20, 16), info.st_ino);
            CHECK(found->second == info.st_ino, "two files have the nonce of %s", path.c_str());
            seen += is_new;
        }
    }
};

// Those that wrap what is in the files, in either copy of a prefix.
static std::string KeyVersions(const std::string &folder) {
    const size_t copy = ATREST_FILE_PREFIX_SIZE / 2;
    std::set<std::string> versions;
    for (const std::string &path : Files(folder)) {
        const std::string raw = Raw(path);
        if (raw.size() < ATREST_FILE_PREFIX_SIZE) continue;
        for (size_t place : {size_t(0), copy}) {
            const std::string prefix = raw.substr(place, copy) + raw.substr(place, copy);
            char url[ATREST_KEY_URL_SIZE];
            Ok(atrest_file_prefix_key_url(prefix.data(), prefix.size(), url, sizeof url, nullptr), path.c_str());
            versions.insert(std::strrchr(url, '/') + 1);
        }
    }
    std::string all;
    for (const std::string &version : versions) all += (all.empty() ? "" : " ") + version;
    return all;
}

static void Disable(const Vault &vault, const std::string &version) {
    char id[ATREST_KEY_URL_SIZE];
    Ok(atrest_vault_id(vault.handle, id, sizeof id, nullptr), "the vault's id");
    atrest_version_change change = ATREST_VERSION_CHANGE_INIT;
    change.changes = ATREST_CHANGE_ENABLED;
    const std::string url = std::string(id) + "/keys/rocksdb/" + version;
    Ok(atrest_vault_set_version(vault.handle, url.c_str(), &change), "disabling a version");
}

// --- Steps.

static void Fill(const std::string &folder, const Encrypted &files, Contents &contents) {
    Database database;
    Ok(database.Open(folder, files, SmallFiles()), "opening");
    contents.Change(database, 30000);
    const std::string begin = Key(0), end = Key(9999);
    const rocksdb::Slice from(begin), to(end);
    Ok(database.db->CompactRange({}, database.families[0], &from, &to), "compacting");
    contents.Change(database, 10000);
    contents.Verify(database);
}

// Another process writes keys from `start` on, and says each to its standard output when it is written.
static int Writer(const std::string &folder, const Encrypted &files, unsigned start) {
    Database database;
    Ok(database.Open(folder, files, SmallFiles()), "opening");
    for (unsigned number = start;; number++) {
        Contents::Put(database, number, 1, number % 8 == 0, number % 64 == 0);
        if (write(STDOUT_FILENO, &number, sizeof number) != sizeof number) return 1;
    }
}

// Another process wraps all DEKs again and again.
static int Rotator(const std::string &folder, const Encrypted &files, unsigned round) {
    for (size_t rotated;; round++) {
        if (write(STDOUT_FILENO, &round, sizeof round) != sizeof round) return 1;
        Ok(files->RotateKeks(folder, false, &rotated), "rotating");
    }
}

// Returns the last number that the process said before it was killed: a writer's is that of a key that is written.
static unsigned Kill(const std::string &work, const char *process, unsigned start, int milliseconds) {
    int pipes[2];
    CHECK(pipe(pipes) == 0, "a pipe");
    const pid_t child = fork();
    CHECK(child >= 0, "a process");
    if (child == 0) {
        dup2(pipes[1], STDOUT_FILENO);
        close(pipes[0]);
        close(pipes[1]);
        const std::string from = std::to_string(start);
        execl("/proc/self/exe", "workload", work.c_str(), process, from.c_str(), nullptr);
        _exit(127);
    }
    close(pipes[1]);
    unsigned last = 0, number;
    CHECK(read(pipes[0], &number, sizeof number) == sizeof number, "the %s ended before it began", process);
    last = number;
    std::thread killer([=] {
        std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
        kill(child, SIGKILL);
    });
    while (read(pipes[0], &number, sizeof number) == sizeof number) last = number;
    killer.join();
    int status;
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the %s ended by itself: %d", process, status);
    close(pipes[0]);
    return last;
}

// The path of the last write-ahead log, or of one that is yet to come.
static std::string LastLog(const std::string &folder, unsigned later = 0) {
    std::string last;
    for (const std::string &path : Files(folder)) {
        if (fs::path(path).extension() == ".log") last = std::max(last, fs::path(path).stem().string());
    }
    char name[32];
    std::snprintf(name, sizeof name, "/%06lu.log", std::strtoul(last.c_str(), nullptr, 10) + later);
    return folder + name;
}

static void Kills(const std::string &work, const Encrypted &files, Contents &contents, Nonces &nonces, int rounds) {
    const std::string folder = work + "/db";
    unsigned next = 1000000, written = 0;
    for (int round = 0; round < rounds; round++) {
        const unsigned last = Kill(work, "writer", next, 20 + contents.random() % 600);
        Database database;
        rocksdb::Options options = SmallFiles();
        options.avoid_flush_during_recovery = round % 2;
        if (round % 4 > 1) {
            options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
        } else {
            // What a loss of power leaves: zeros at the end of a log, and another that was just made.
            const std::string log = LastLog(folder), later = LastLog(folder, 1);
            fs::resize_file(log, fs::file_size(log) + 300);
            std::ofstream(later) << "atrestFP";
        }
        Ok(database.Open(folder, files, options), "opening after a kill");
        // All that was said to be written is there, and of what comes after it at most what was under way.
        std::string value;
        for (; next <= last; next++) contents.models[next % 8 == 0][next] = 1, written++;
        if (database.db->Get({}, database.families[next % 8 == 0], Key(next), &value).ok()) {
            contents.models[next % 8 == 0][next] = 1;
            next++;
        }
        contents.Verify(database);
        contents.Change(database, 2000);
        contents.Verify(database);
        database.Close();
        nonces.Look(folder);
    }
    Done("killed " + std::to_string(rounds) + " times with " + std::to_string(written) +
         " keys written, and all were there");
}

static void CopiesAndImports(const std::string &work, const Encrypted &files, Contents &contents) {
    Database database;
    Ok(database.Open(work + "/db", files, SmallFiles()), "opening");
    // A table made outside of the database, which takes it in by a link.
    const std::string table = work + "/import.sst";
    rocksdb::Options options = SmallFiles();
    options.env = database.env.get();
    rocksdb::SstFileWriter writer(rocksdb::EnvOptions(), options);
    Ok(writer.Open(table), "making a table");
    for (unsigned number = 9000000; number < 9001000; number++) {
        Ok(writer.Put(Key(number), Value(number, 1, 0)), "putting into a table");
        contents.models[0][number] = 1;
    }
    Ok(writer.Finish(), "finishing a table");
    rocksdb::IngestExternalFileOptions import;
    import.move_files = true;
    import.write_global_seqno = false;
    Ok(database.db->IngestExternalFile(database.families[0], {table}, import), "importing");
    contents.Verify(database);

    rocksdb::Checkpoint *checkpoint;
    Ok(rocksdb::Checkpoint::Create(database.db, &checkpoint), "a checkpoint");
    Ok(checkpoint->CreateCheckpoint(work + "/copy"), "a checkpoint");
    delete checkpoint;
    Database copy;
    Ok(copy.Open(work + "/copy", files, SmallFiles()), "opening a checkpoint");
    contents.Verify(copy);
    Done("a table is imported, and a checkpoint is a database");
}

// Write-ahead logs that are used again: RocksDB does that in one mode of recovery only, and its version 7.8 crashes then with
// more than one column family, also without encryption.
static void ReusedLogs(const std::string &folder, const Encrypted &files) {
    rocksdb::Options options = SmallFiles();
    options.recycle_log_file_num = 3;
    options.wal_recovery_mode = rocksdb::WALRecoveryMode::kSkipAnyCorruptedRecords;
    const std::unique_ptr<rocksdb::Env> env = EnvOf(files);
    options.env = env.get();
    const unsigned keys = 20000;
    std::string text;
    for (unsigned round = 0; round < 2; round++) {
        rocksdb::DB *opened;
        Ok(rocksdb::DB::Open(options, folder, &opened), "opening");
        const std::unique_ptr<rocksdb::DB> db(opened);
        for (unsigned number = 0; number < keys; number++) {
            if (round > 0) {
                Ok(db->Get({}, Key(number), &text), "getting");
                CHECK(text == Value(number, round - 1, 0), "the value of %u", number);
            }
            Ok(db->Put({}, Key(number), Value(number, round, 0)), "putting");
        }
    }
    // The log of events tells, and is read by its file system.
    Ok(rocksdb::ReadFileToString(env.get(), folder + "/LOG", &text), "reading the log of events");
    CHECK(text.find("reusing log") != std::string::npos, "no write-ahead log was used again");
    Done("write-ahead logs are used again");
}

static void WrongKeys(const std::string &work, const Vault &vault) {
    const std::string copy = work + "/wrong";
    const Vault other(work + "/other.vault");
    struct {
        const Vault &vault;
        const char *context, *status;
    } wrong[] = {{other, kContext, "ATREST_ERR_NOT_THIS_VAULT"}, {vault, "db-8", "ATREST_ERR_CONTEXT_MISMATCH"}};
    for (const auto &[from, context, said] : wrong) {
        fs::remove_all(copy);
        fs::copy(work + "/db", copy);
        Database database;
        const Status status = database.Open(copy, EncryptedFileSystem(from, context), SmallFiles());
        CHECK(!status.ok() && status.ToString().find(said) != std::string::npos, "%s", status.ToString().c_str());
    }
    fs::remove_all(copy);
    Database plain;
    fs::copy(work + "/db", copy);
    CHECK(!plain.Open(copy, nullptr, SmallFiles()).ok(), "it opens without a key");
    fs::remove_all(copy);
    Done("another vault's key, another context and no key are found at open");
}

// Every file's bytes behind the prefix, by its inode.
static std::map<ino_t, std::string> Data(const std::string &folder) {
    std::map<ino_t, std::string> data;
    for (const std::string &path : Files(folder)) {
        struct stat info;
        const std::string raw = Raw(path);
        if (stat(path.c_str(), &info) == 0 && raw.size() > ATREST_FILE_PREFIX_SIZE) {
            data[info.st_ino] = raw.substr(ATREST_FILE_PREFIX_SIZE);
        }
    }
    return data;
}

static void Rotations(const std::string &work, const Vault &vault, const Encrypted &files, Contents &contents) {
    const std::string folder = work + "/db";
    // While it is closed.
    const auto before = Data(folder);
    size_t rotated;
    CHECK(KeyVersions(folder) == "1", "%s", KeyVersions(folder).c_str());
    Ok(atrest_vault_rotate_key(vault.handle, "rocksdb", nullptr, 0), "a new version");
    Ok(files->RotateKeks(folder, false, &rotated), "rotating");
    CHECK(KeyVersions(folder) == "2" && rotated >= before.size(), "%s", KeyVersions(folder).c_str());
    CHECK(Data(folder) == before, "data was rewritten");
    Disable(vault, "1");
    Database database;
    Ok(database.Open(folder, files, SmallFiles()), "opening after a rotation");
    contents.Verify(database);
    Done("the keys of " + std::to_string(rotated) + " files were rotated, and no data was rewritten");

    // While it is written to.
    CHECK(!files->RotateKeks(folder, false, &rotated).ok(), "an open database is rotated as a closed one");
    std::atomic<bool> end{false};
    std::atomic<unsigned> changes{0};
    std::thread writer([&] {
        while (!end) {
            contents.Change(database, 100);
            changes += 100;
        }
    });
    Ok(atrest_vault_rotate_key(vault.handle, "rocksdb", nullptr, 0), "a new version");
    Ok(files->RotateKeks(folder, true, &rotated), "rotating an open database");
    Disable(vault, "2");
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    end = true;
    writer.join();
    contents.Verify(database);
    database.Close();
    CHECK(KeyVersions(folder) == "3", "%s", KeyVersions(folder).c_str());
    Ok(database.Open(folder, files, SmallFiles()), "opening after a rotation");
    contents.Verify(database);
    Done("the keys of " + std::to_string(rotated) + " files were rotated while " + std::to_string(changes.load()) +
         " keys were written");
    database.Close();

    // Killed.
    Ok(atrest_vault_rotate_key(vault.handle, "rocksdb", nullptr, 0), "a new version");
    for (int round = 0; round < 5; round++) {
        Kill(work, "rotator", 0, 20 + contents.random() % 300);
        Ok(database.Open(folder, files, SmallFiles()), "opening after a killed rotation");
        contents.Verify(database);
        database.Close();
    }
    Ok(files->RotateKeks(folder, false, &rotated), "rotating to the end");
    CHECK(KeyVersions(folder) == "4", "%s", KeyVersions(folder).c_str());
    Done("rotations were killed, and one was done after all");
}

int main(int argc, char **argv) {
    CHECK(argc == 2 || argc == 4, "workload FOLDER");
    const std::string work = argv[1], folder = work + "/db";
    const Vault vault(work + "/keys.vault");
    const Encrypted files = EncryptedFileSystem(vault, kContext);
    if (argc == 4) {
        const bool writes = std::strcmp(argv[2], "writer") == 0;
        return (writes ? Writer : Rotator)(folder, files, static_cast<unsigned>(std::strtoul(argv[3], nullptr, 10)));
    }

    Contents contents;
    Nonces nonces;
    Fill(folder, files, contents);
    Done("filled and compacted");
    nonces.Look(folder);
    {
        Database database;
        Ok(database.Open(folder, files, SmallFiles()), "opening again");
        contents.Verify(database);
        nonces.Look(folder);
    }
    Done("closed and opened again");
    Kills(work, files, contents, nonces, 10);
    CopiesAndImports(work, files, contents);
    ReusedLogs(work + "/reused", files);
    WrongKeys(work, vault);
    Rotations(work, vault, files, contents);
    for (const char *name : {"/db", "/copy", "/reused"}) nonces.Look(work + name);
    Done(std::to_string(nonces.seen) + " keys were seen, each in one file");
    Contents unencrypted;  // would the plaintext be found?
    Fill(work + "/unencrypted", nullptr, unencrypted);
}
