// A file system for RocksDB in which every file is encrypted under a DEK of its own, over include/atrest.h alone.
//
//     auto files = std::make_shared<atrest_rocksdb::FileSystem>(rocksdb::FileSystem::Default(), vault, "rocksdb", "db-7");
//     std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(files);
//     options.env = env.get();
#pragma once

#include <atrest.h>
#include <rocksdb/env_encryption.h>
#include <rocksdb/file_system.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace atrest_rocksdb {

// No keystream is used twice, since a file is written by nobody but who made it, from its start to its end: whoever makes
// one, be it over another or in another's place, takes a fresh DEK, and nobody appends to a file of before. The README says
// what is refused for that.
class FileSystem : public rocksdb::FileSystemWrapper {
 public:
    // `base` is where the files are: for RotateKeks, the operating system's. `vault` may be freed afterwards; `key_name` is
    // that of its key, and `context` what the files are part of, a database's id: whoever opens them must give the same.
    FileSystem(const std::shared_ptr<rocksdb::FileSystem> &base, const atrest_vault *vault, std::string key_name,
               std::string context);
    ~FileSystem() override { atrest_vault_free(vault_); }

    // Has the vault wrap the DEKs of all files in a folder anew, under the latest version of its key, and counts them. No
    // data is rewritten. The database may be open, if this file system is the one that it was opened with; otherwise it
    // must be closed, and can't be opened meanwhile. What is in folders below, such as `archive`, takes a call of its own,
    // after this one.
    rocksdb::Status RotateKeks(const std::string &folder, bool is_open, size_t *rotated);

    static const char *kClassName() { return "AtrestFileSystem"; }
    const char *Name() const override { return kClassName(); }

    rocksdb::IOStatus NewSequentialFile(const std::string &file, const rocksdb::FileOptions &options,
                                        std::unique_ptr<rocksdb::FSSequentialFile> *result,
                                        rocksdb::IODebugContext *dbg) override;
    rocksdb::IOStatus NewRandomAccessFile(const std::string &file, const rocksdb::FileOptions &options,
                                          std::unique_ptr<rocksdb::FSRandomAccessFile> *result,
                                          rocksdb::IODebugContext *dbg) override;
    rocksdb::IOStatus NewWritableFile(const std::string &file, const rocksdb::FileOptions &options,
                                      std::unique_ptr<rocksdb::FSWritableFile> *result,
                                      rocksdb::IODebugContext *dbg) override;
    rocksdb::IOStatus ReuseWritableFile(const std::string &file, const std::string &old_file,
                                        const rocksdb::FileOptions &options,
                                        std::unique_ptr<rocksdb::FSWritableFile> *result,
                                        rocksdb::IODebugContext *dbg) override;
    // To sync and truncate a file, not to append to it.
    rocksdb::IOStatus ReopenWritableFile(const std::string &file, const rocksdb::FileOptions &options,
                                         std::unique_ptr<rocksdb::FSWritableFile> *result,
                                         rocksdb::IODebugContext *dbg) override;
    // Refused: they change a file where something was written before, or past the encryption.
    rocksdb::IOStatus NewRandomRWFile(const std::string &file, const rocksdb::FileOptions &options,
                                      std::unique_ptr<rocksdb::FSRandomRWFile> *result,
                                      rocksdb::IODebugContext *dbg) override;
    rocksdb::IOStatus NewMemoryMappedFileBuffer(const std::string &file,
                                                std::unique_ptr<rocksdb::MemoryMappedFileBuffer> *result) override;
    rocksdb::IOStatus Truncate(const std::string &file, size_t size, const rocksdb::IOOptions &options,
                               rocksdb::IODebugContext *dbg) override;

    // The log of events. The wrapper's would be that of the file system below, which writes keys in the clear.
    rocksdb::IOStatus NewLogger(const std::string &file, const rocksdb::IOOptions &options,
                                std::shared_ptr<rocksdb::Logger> *result, rocksdb::IODebugContext *dbg) override;

    // Sizes are those of the data, without the prefix.
    rocksdb::IOStatus GetFileSize(const std::string &file, const rocksdb::IOOptions &options, uint64_t *size,
                                  rocksdb::IODebugContext *dbg) override;
    rocksdb::IOStatus GetChildrenFileAttributes(const std::string &folder, const rocksdb::IOOptions &options,
                                                std::vector<rocksdb::FileAttributes> *result,
                                                rocksdb::IODebugContext *dbg) override;

 private:
    rocksdb::IOStatus OpenStream(const std::string &file, const rocksdb::Slice &prefix,
                                 std::unique_ptr<rocksdb::BlockAccessCipherStream> *result) const;
    rocksdb::Status RotateKek(const std::string &file, std::string *latest, size_t *rotated);

    atrest_vault *vault_ = nullptr;
    const std::string key_name_, context_;
    // Held while a prefix is written: by who makes a file, and by who rotates one.
    std::mutex prefixes_;
};

}  // namespace atrest_rocksdb
