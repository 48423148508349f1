// See encrypted_fs.h, and the README for what is refused and why.
#include "encrypted_fs.h"

#include <algorithm>
#include <cstring>

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;
using rocksdb::Status;

namespace atrest_rocksdb {
namespace {

constexpr size_t kPrefix = ATREST_FILE_PREFIX_SIZE;

// A prefix in memory, aligned for direct I/O.
struct alignas(4096) PrefixBuffer {
    char bytes[kPrefix];
};

// What the library says of `file`, as RocksDB has it. Damage and a wrong key are corruption; of a vault that doesn't
// answer, or of a key that may not be used now, RocksDB is to try again.
IOStatus ToStatus(atrest_status status, const std::string &file) {
    if (status == ATREST_OK) return IOStatus::OK();
    const std::string text = std::string(atrest_status_name(status)) + ": " + atrest_last_error_message();
    switch (status) {
        case ATREST_ERR_INVALID_PREFIX:
        case ATREST_ERR_INVALID_ENVELOPE:
        case ATREST_ERR_CONTEXT_MISMATCH:
        case ATREST_ERR_NOT_THIS_VAULT:
        case ATREST_ERR_UNWRAP_FAILED:
        case ATREST_ERR_UNSUPPORTED_ALGORITHM:
            return IOStatus::Corruption(file, text);
        default:
            return IOStatus::IOError(file, text);
    }
}

struct FreeCipher {
    void operator()(atrest_stream_cipher *cipher) const { atrest_stream_cipher_free(cipher); }
};
using Cipher = std::unique_ptr<atrest_stream_cipher, FreeCipher>;

// What RocksDB's encrypted files ask to decrypt. Offsets count the prefix.
class Stream : public rocksdb::BlockAccessCipherStream {
 public:
    Stream(Cipher cipher, std::string file) : cipher_(std::move(cipher)), file_(std::move(file)) {}

    size_t BlockSize() override { return 16; }
    Status Decrypt(uint64_t offset, char *data, size_t size) override {
        return ToStatus(atrest_stream_cipher_apply(cipher_.get(), offset - kPrefix, data, size), file_);
    }
    Status Encrypt(uint64_t, char *, size_t) override { return Status::NotSupported(file_, "this is for reading"); }

 protected:
    void AllocateScratch(std::string &) override {}
    Status EncryptBlock(uint64_t, char *, char *) override { return Status::NotSupported(file_, "by the block"); }
    Status DecryptBlock(uint64_t, char *, char *) override { return Status::NotSupported(file_, "by the block"); }

 private:
    const Cipher cipher_;
    const std::string file_;
};

// A file that is appended to, as long as there is a cipher. A file of before has none: what was behind its end may have been
// written already, by who was killed or cut off since.
class WritableFile : public rocksdb::EncryptedWritableFile {
 public:
    WritableFile(std::unique_ptr<rocksdb::FSWritableFile> &&below, std::string name, Cipher cipher, uint64_t size)
        : EncryptedWritableFile(std::move(below), nullptr, kPrefix),
          name_(std::move(name)),
          cipher_(std::move(cipher)),
          size_(size) {}

    using FSWritableFile::Append;
    IOStatus Append(const Slice &data, const IOOptions &options, IODebugContext *dbg) override {
        if (!cipher_) return Refused();
        if (buffer_.size() < data.size()) buffer_.resize(data.size());
        IOStatus status = ToStatus(
            atrest_stream_cipher_apply_to(cipher_.get(), size_, data.data(), buffer_.data(), data.size()), name_);
        if (status.ok()) status = file_->Append(Slice(buffer_.data(), data.size()), options, dbg);
        if (status.ok()) {
            size_ += data.size();
        } else {
            cipher_.reset();  // nobody knows how much of it is written
        }
        return status;
    }

    using FSWritableFile::PositionedAppend;
    IOStatus PositionedAppend(const Slice &, uint64_t, const IOOptions &, IODebugContext *) override {
        return Refused();
    }

    IOStatus Truncate(uint64_t size, const IOOptions &options, IODebugContext *dbg) override {
        cipher_.reset();
        const IOStatus status = EncryptedWritableFile::Truncate(size, options, dbg);
        if (status.ok()) size_ = size;
        return status;
    }

    uint64_t GetFileSize(const IOOptions &, IODebugContext *) override { return size_; }

 private:
    IOStatus Refused() const { return IOStatus::NotSupported(name_, "what may have been written isn't written again"); }

    const std::string name_;
    Cipher cipher_;
    uint64_t size_;  // without the prefix
    std::vector<char> buffer_;
};

uint64_t WithoutPrefix(uint64_t size) { return size - std::min<uint64_t>(size, kPrefix); }

// Who reads a mapped file gets its bytes as they are on the disk.
IOStatus CheckReads(const std::string &file, const FileOptions &options) {
    if (!options.use_mmap_reads) return IOStatus::OK();
    return IOStatus::NotSupported(file, "an encrypted file can't be read by a mapping");
}

// The last page of a file is written again and again in direct I/O, first with zeros where data will be.
IOStatus CheckWrites(const std::string &file, const FileOptions &options) {
    if (!options.use_direct_writes && !options.use_mmap_writes) return IOStatus::OK();
    return IOStatus::NotSupported(file, "direct and mapped writes write a page more than once");
}

}  // namespace

FileSystem::FileSystem(const std::shared_ptr<rocksdb::FileSystem> &base, const atrest_vault *vault, std::string key_name,
                       std::string context)
    : FileSystemWrapper(base), key_name_(std::move(key_name)), context_(std::move(context)) {
    // Without a vault each call fails, and says so.
    if (atrest_vault_clone(vault, &vault_) != ATREST_OK) vault_ = nullptr;
}

IOStatus FileSystem::OpenStream(const std::string &file, const Slice &prefix,
                                std::unique_ptr<rocksdb::BlockAccessCipherStream> *result) const {
    atrest_stream_cipher *cipher;
    const atrest_status status = atrest_file_prefix_open(vault_, prefix.data(), prefix.size(), context_.data(),
                                                         context_.size(), &cipher);
    if (status == ATREST_OK) *result = std::make_unique<Stream>(Cipher(cipher), file);
    return ToStatus(status, file);
}

// ---------------------------------------------------------------------------------------------------------------------
// READING

IOStatus FileSystem::NewSequentialFile(const std::string &file, const FileOptions &options,
                                       std::unique_ptr<rocksdb::FSSequentialFile> *result, IODebugContext *dbg) {
    FileOptions buffered(options);
    buffered.use_direct_reads = false;  // or the file below would have no position, which is behind the prefix here
    std::unique_ptr<rocksdb::FSSequentialFile> below;
    IOStatus status = CheckReads(file, options);
    if (status.ok()) status = target()->NewSequentialFile(file, buffered, &below, dbg);
    PrefixBuffer buffer;
    Slice prefix;
    if (status.ok()) status = below->Read(kPrefix, options.io_options, &prefix, buffer.bytes, dbg);
    if (!status.ok()) return status;
    if (prefix.size() < kPrefix) {
        *result = std::move(below);  // which is at its end: who made the file was killed before there was data
        return status;
    }
    std::unique_ptr<rocksdb::BlockAccessCipherStream> stream;
    status = OpenStream(file, prefix, &stream);
    if (status.ok()) result->reset(new rocksdb::EncryptedSequentialFile(std::move(below), std::move(stream), kPrefix));
    return status;
}

IOStatus FileSystem::NewRandomAccessFile(const std::string &file, const FileOptions &options,
                                         std::unique_ptr<rocksdb::FSRandomAccessFile> *result, IODebugContext *dbg) {
    std::unique_ptr<rocksdb::FSRandomAccessFile> below;
    IOStatus status = CheckReads(file, options);
    if (status.ok()) status = target()->NewRandomAccessFile(file, options, &below, dbg);
    PrefixBuffer buffer;
    Slice prefix;
    if (status.ok()) status = below->Read(0, kPrefix, options.io_options, &prefix, buffer.bytes, dbg);
    std::unique_ptr<rocksdb::BlockAccessCipherStream> stream;
    if (status.ok()) status = OpenStream(file, prefix, &stream);
    if (status.ok()) result->reset(new rocksdb::EncryptedRandomAccessFile(std::move(below), std::move(stream), kPrefix));
    return status;
}

IOStatus FileSystem::GetFileSize(const std::string &file, const IOOptions &options, uint64_t *size,
                                 IODebugContext *dbg) {
    const IOStatus status = target()->GetFileSize(file, options, size, dbg);
    if (status.ok()) *size = WithoutPrefix(*size);
    return status;
}

IOStatus FileSystem::GetChildrenFileAttributes(const std::string &folder, const IOOptions &options,
                                               std::vector<rocksdb::FileAttributes> *result, IODebugContext *dbg) {
    const IOStatus status = target()->GetChildrenFileAttributes(folder, options, result, dbg);
    if (status.ok()) {
        for (rocksdb::FileAttributes &child : *result) child.size_bytes = WithoutPrefix(child.size_bytes);
    }
    return status;
}

// ---------------------------------------------------------------------------------------------------------------------
// WRITING

IOStatus FileSystem::NewWritableFile(const std::string &file, const FileOptions &options,
                                     std::unique_ptr<rocksdb::FSWritableFile> *result, IODebugContext *dbg) {
    IOStatus status = CheckWrites(file, options);
    if (!status.ok()) return status;
    const std::lock_guard<std::mutex> guard(prefixes_);
    PrefixBuffer prefix;
    size_t len;
    atrest_stream_cipher *made;
    // A vault that refuses leaves what is under this name untouched.
    status = ToStatus(atrest_file_prefix_create(vault_, key_name_.c_str(), context_.data(), context_.size(), prefix.bytes,
                                                kPrefix, &len, &made),
                      file);
    if (!status.ok()) return status;
    Cipher cipher(made);
    std::unique_ptr<rocksdb::FSWritableFile> below;
    status = target()->NewWritableFile(file, options, &below, dbg);
    if (status.ok()) status = below->Append(Slice(prefix.bytes, len), options.io_options, dbg);
    if (status.ok()) result->reset(new WritableFile(std::move(below), file, std::move(cipher), 0));
    return status;
}

// By another file: written over, the old one would be noise behind the end of the new data, which RocksDB takes for damage
// where it knows records of before for such; and a checkpoint may have a link to it.
IOStatus FileSystem::ReuseWritableFile(const std::string &file, const std::string &old_file, const FileOptions &options,
                                       std::unique_ptr<rocksdb::FSWritableFile> *result, IODebugContext *dbg) {
    IOStatus status = CheckWrites(file, options);
    if (status.ok()) status = DeleteFile(old_file, options.io_options, dbg);
    return status.ok() ? NewWritableFile(file, options, result, dbg) : status;
}

IOStatus FileSystem::ReopenWritableFile(const std::string &file, const FileOptions &options,
                                        std::unique_ptr<rocksdb::FSWritableFile> *result, IODebugContext *dbg) {
    IOStatus status = CheckWrites(file, options);
    if (!status.ok()) return status;
    uint64_t size = 0;
    status = FileExists(file, options.io_options, dbg);
    if (status.ok()) status = target()->GetFileSize(file, options.io_options, &size, dbg);
    if (status.IsNotFound() || (status.ok() && size < kPrefix)) return NewWritableFile(file, options, result, dbg);
    std::unique_ptr<rocksdb::FSRandomAccessFile> reader;  // so that a wrong key is found
    if (status.ok()) status = NewRandomAccessFile(file, FileOptions(), &reader, dbg);
    std::unique_ptr<rocksdb::FSWritableFile> below;
    if (status.ok()) status = target()->ReopenWritableFile(file, options, &below, dbg);
    if (status.ok()) result->reset(new WritableFile(std::move(below), file, nullptr, size - kPrefix));
    return status;
}

IOStatus FileSystem::NewRandomRWFile(const std::string &file, const FileOptions &,
                                     std::unique_ptr<rocksdb::FSRandomRWFile> *, IODebugContext *) {
    return IOStatus::NotSupported(file, "an encrypted file is appended to, not changed");
}

IOStatus FileSystem::NewMemoryMappedFileBuffer(const std::string &file,
                                               std::unique_ptr<rocksdb::MemoryMappedFileBuffer> *) {
    return IOStatus::NotSupported(file, "an encrypted file isn't mapped");
}

IOStatus FileSystem::Truncate(const std::string &file, size_t, const IOOptions &, IODebugContext *) {
    return IOStatus::NotSupported(file, "an encrypted file is truncated by who has it open");
}

IOStatus FileSystem::NewLogger(const std::string &file, const IOOptions &options,
                               std::shared_ptr<rocksdb::Logger> *result, IODebugContext *dbg) {
    return rocksdb::FileSystem::NewLogger(file, options, result, dbg);
}

// ---------------------------------------------------------------------------------------------------------------------
// ROTATION

Status FileSystem::RotateKeks(const std::string &folder, bool is_open, size_t *rotated) {
    *rotated = 0;
    const IOOptions options;
    rocksdb::FileLock *lock = nullptr;
    Status status;
    if (!is_open) status = LockFile(folder + "/LOCK", options, &lock, nullptr);
    std::string latest;
    bool all = false;
    while (status.ok() && !all) {
        all = true;
        std::vector<std::string> names;
        {
            // Whoever took the version of before for a new file is done with it, and it is listed.
            const std::lock_guard<std::mutex> guard(prefixes_);
            status = GetChildren(folder, options, &names, nullptr);
        }
        for (size_t i = 0; status.ok() && i < names.size(); i++) {
            const std::string file = folder + "/" + names[i];
            bool is_folder = false;
            if (IsDirectory(file, options, &is_folder, nullptr).ok() && is_folder) continue;
            status = RotateKek(file, &latest, rotated);
            // Deleted meanwhile, or renamed: it may have another name among those that are done.
            if (!status.ok() && FileExists(file, options, nullptr).IsNotFound()) {
                status = Status::OK();
                all = false;
            }
        }
    }
    if (lock) {
        const Status unlocked = UnlockFile(lock, options, nullptr);
        if (status.ok()) status = unlocked;
    }
    return status;
}

// One file at a time, so that new files wait for as long as that takes, and no longer.
Status FileSystem::RotateKek(const std::string &file, std::string *latest, size_t *rotated) {
    const std::lock_guard<std::mutex> guard(prefixes_);
    std::unique_ptr<rocksdb::FSSequentialFile> source;
    PrefixBuffer buffer;
    Slice prefix;
    IOStatus status = target()->NewSequentialFile(file, FileOptions(), &source, nullptr);
    if (status.ok()) status = source->Read(kPrefix, IOOptions(), &prefix, buffer.bytes, nullptr);
    if (!status.ok()) return status;
    if (prefix.size() < kPrefix) return Status::OK();  // LOCK, or never written whole
    char url[ATREST_KEY_URL_SIZE];
    status = ToStatus(atrest_file_prefix_key_url(prefix.data(), kPrefix, url, sizeof url, nullptr), file);
    if (!status.ok()) return status;
    // Both copies, since a rotation that was killed leaves one under the version of before.
    const bool is_done = *latest == url && std::memcmp(prefix.data(), prefix.data() + kPrefix / 2, kPrefix / 2) == 0;
    if (is_done) return Status::OK();
    atrest_device *device;
    status = ToStatus(atrest_device_open_file(file.c_str(), 0, &device), file);
    if (!status.ok()) return status;
    status = ToStatus(atrest_file_prefix_rotate_kek(device, vault_, context_.data(), context_.size(), url, sizeof url),
                      file);
    atrest_device_free(device);
    if (!status.ok()) return status;
    *latest = url;
    ++*rotated;
    return Status::OK();
}

}  // namespace atrest_rocksdb
