// What workload.cc and cost.cc share: checks, a vault, and a database with small files.
#pragma once

#include "encrypted_fs.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/options.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#define CHECK(condition, ...)                                                     \
    do {                                                                          \
        if (!(condition)) {                                                       \
            std::fprintf(stderr, "FAILED: %s:%d: %s: ", __FILE__, __LINE__, #condition); \
            std::fprintf(stderr, __VA_ARGS__);                                    \
            std::fprintf(stderr, "\n");                                           \
            std::exit(1);                                                         \
        }                                                                         \
    } while (0)

inline void Ok(const rocksdb::Status &status, const char *what) {
    CHECK(status.ok(), "%s: %s", what, status.ToString().c_str());
}

inline void Ok(atrest_status status, const char *what) {
    CHECK(status == ATREST_OK, "%s: %s: %s", what, atrest_status_name(status), atrest_last_error_message());
}

inline void Done(const std::string &what) {
    std::printf("ok: %s\n", what.c_str());
    std::fflush(stdout);
}

// A file as it is on the disk.
inline std::string Raw(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// What the files of the databases here are part of.
static const char *const kContext = "db-7";

// A vault file with the key "rocksdb", opened by a root key file beside it; made where there is none.
struct Vault {
    atrest_vault *handle = nullptr;

    explicit Vault(const std::string &path) {
        const std::string root = path + ".root";
        atrest_unlock unlock = ATREST_UNLOCK_INIT;
        unlock.key_file = root.c_str();
        if (std::filesystem::exists(path)) {
            Ok(atrest_vault_open_file(path.c_str(), &unlock, &handle), "opening the vault");
            return;
        }
        Ok(atrest_vault_generate_key_file(root.c_str()), "making a root key");
        Ok(atrest_vault_create_file(path.c_str(), &unlock, &handle), "making a vault");
        Ok(atrest_vault_create_key(handle, "rocksdb", nullptr, 0), "making a key");
    }
    ~Vault() { atrest_vault_free(handle); }
    Vault(const Vault &) = delete;
    Vault &operator=(const Vault &) = delete;
};

inline std::shared_ptr<atrest_rocksdb::FileSystem> EncryptedFileSystem(const Vault &vault, const std::string &context) {
    return std::make_shared<atrest_rocksdb::FileSystem>(rocksdb::FileSystem::Default(), vault.handle, "rocksdb", context);
}

// Of a file system, or without encryption where it is null.
inline std::unique_ptr<rocksdb::Env> EnvOf(const std::shared_ptr<rocksdb::FileSystem> &files) {
    return rocksdb::NewCompositeEnv(files ? files : rocksdb::FileSystem::Default());
}

// A database with two column families, the second of which keeps long values in blob files.
struct Database {
    std::unique_ptr<rocksdb::Env> env;
    rocksdb::DB *db = nullptr;
    std::vector<rocksdb::ColumnFamilyHandle *> families;

    rocksdb::Status Open(const std::string &folder, const std::shared_ptr<rocksdb::FileSystem> &files,
                         const rocksdb::Options &given) {
        rocksdb::Options options = given;
        env = EnvOf(files);
        options.env = env.get();
        rocksdb::ColumnFamilyOptions blobs(options);
        blobs.enable_blob_files = true;
        blobs.min_blob_size = 1024;
        blobs.blob_file_size = 1 << 20;
        blobs.enable_blob_garbage_collection = true;
        return rocksdb::DB::Open(options, folder,
                                 {{rocksdb::kDefaultColumnFamilyName, rocksdb::ColumnFamilyOptions(options)},
                                  {"plain-blobs", blobs}},
                                 &families, &db);
    }
    void Close() {
        for (rocksdb::ColumnFamilyHandle *family : families) Ok(db->DestroyColumnFamilyHandle(family), "a family");
        families.clear();
        if (db) Ok(db->Close(), "closing");
        delete db;
        db = nullptr;
        env.reset();
    }
    Database() = default;
    ~Database() { Close(); }
    Database(const Database &) = delete;
    Database &operator=(const Database &) = delete;
};

// Nothing is compressed, so that plaintext would show.
inline rocksdb::Options BaseOptions() {
    rocksdb::Options options;
    options.create_if_missing = true;
    options.create_missing_column_families = true;
    options.compression = rocksdb::kNoCompression;
    options.max_background_jobs = 2;
    return options;
}
