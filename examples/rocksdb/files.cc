// What the file system does to single files: `files FOLDER`.
#include "common.h"

using rocksdb::FileOptions;
using rocksdb::IOOptions;

int main(int argc, char **argv) {
    CHECK(argc == 2, "files FOLDER");
    const std::string folder = argv[1];
    const Vault vault(folder + "/keys.vault");
    const auto files = EncryptedFileSystem(vault, kContext);
    const std::string a = folder + "/a", b = folder + "/b";
    const std::string first(10000, 'x'), second(10000, 'y');
    const IOOptions io;
    std::unique_ptr<rocksdb::FSWritableFile> file;
    Ok(files->NewWritableFile(a, FileOptions(), &file, nullptr), "making a file");
    Ok(file->Append(first, io, nullptr), "appending");
    Ok(file->Close(io, nullptr), "closing");
    const std::string old_raw = Raw(a);
    CHECK(old_raw.size() == ATREST_FILE_PREFIX_SIZE + first.size(), "%zu bytes", old_raw.size());

    // Used again under another name, and made anew under the same. A checkpoint may have a link to it.
    Ok(files->LinkFile(a, folder + "/link", io, nullptr), "linking");
    for (int round = 0; round < 2; round++) {
        if (round == 0) {
            Ok(files->ReuseWritableFile(b, a, FileOptions(), &file, nullptr), "using a file again");
        } else {
            Ok(files->NewWritableFile(b, FileOptions(), &file, nullptr), "truncating a file");
        }
        Ok(file->Append(second, io, nullptr), "appending");
        Ok(file->Close(io, nullptr), "closing");
        const std::string raw = Raw(b);
        CHECK(raw.size() == old_raw.size() && raw.compare(20, 16, old_raw, 20, 16) != 0, "the nonce of before");
        size_t equal = 0;
        for (size_t i = ATREST_FILE_PREFIX_SIZE; i < raw.size(); i++) equal += (raw[i] ^ old_raw[i]) == ('x' ^ 'y');
        CHECK(equal < 200, "the keystream of before, at %zu bytes", equal);
    }
    CHECK(files->FileExists(a, io, nullptr).IsNotFound() && Raw(folder + "/link") == old_raw, "the file of before");
    Done("a file that is used again, or made anew, has another key");

    // A file is appended to, by who made it.
    uint64_t size;
    Ok(files->ReopenWritableFile(b, FileOptions(), &file, nullptr), "opening a file again");
    CHECK(file->GetFileSize(io, nullptr) == second.size(), "its size");
    CHECK(file->Append("more", io, nullptr).IsNotSupported(), "an append to a file of before");
    CHECK(file->PositionedAppend("more", second.size(), io, nullptr).IsNotSupported(), "an append to a file of before");
    Ok(file->Sync(io, nullptr), "syncing");
    Ok(file->Truncate(9000, io, nullptr), "truncating");
    CHECK(file->GetFileSize(io, nullptr) == 9000, "its size");
    Ok(file->Close(io, nullptr), "closing");
    Ok(files->GetFileSize(b, io, &size, nullptr), "asking for a size");
    CHECK(size == 9000, "%llu bytes", static_cast<unsigned long long>(size));
    Ok(files->NewWritableFile(a, FileOptions(), &file, nullptr), "making a file");
    Ok(file->Append("12345678", io, nullptr), "appending");
    CHECK(file->PositionedAppend("x", 7, io, nullptr).IsNotSupported(), "a write over what is there");
    Ok(file->Append("9", io, nullptr), "appending");
    CHECK(file->GetFileSize(io, nullptr) == 9, "its size");
    Ok(file->Truncate(4, io, nullptr), "truncating");
    CHECK(file->Append("x", io, nullptr).IsNotSupported(), "a write over what was there");
    Ok(file->Close(io, nullptr), "closing");
    FileOptions direct, mapped;
    direct.use_direct_reads = direct.use_direct_writes = true;
    mapped.use_mmap_reads = mapped.use_mmap_writes = true;
    std::unique_ptr<rocksdb::FSSequentialFile> sequential;
    std::unique_ptr<rocksdb::FSRandomAccessFile> reader;
    std::unique_ptr<rocksdb::FSRandomRWFile> anywhere;
    std::unique_ptr<rocksdb::MemoryMappedFileBuffer> mapping;
    for (const FileOptions &options : {direct, mapped}) {
        CHECK(files->NewWritableFile(a, options, &file, nullptr).IsNotSupported(), "direct or mapped writes");
        CHECK(files->ReuseWritableFile(a, b, options, &file, nullptr).IsNotSupported(), "direct or mapped writes");
        CHECK(files->ReopenWritableFile(b, options, &file, nullptr).IsNotSupported(), "direct or mapped writes");
    }
    CHECK(files->NewSequentialFile(b, mapped, &sequential, nullptr).IsNotSupported(), "mapped reads");
    CHECK(files->NewRandomAccessFile(b, mapped, &reader, nullptr).IsNotSupported(), "mapped reads");
    CHECK(files->NewRandomRWFile(b, FileOptions(), &anywhere, nullptr).IsNotSupported(), "writes anywhere");
    CHECK(files->NewMemoryMappedFileBuffer(b, &mapping).IsNotSupported(), "a mapped file");
    CHECK(files->Truncate(b, 0, io, nullptr).IsNotSupported(), "a truncation by name");
    Done("what would use a keystream twice is refused");

    // Any piece of it, by all kinds of readers.
    rocksdb::Slice piece;
    alignas(4096) char scratch[3 * 4096];
    Ok(files->NewRandomAccessFile(b, FileOptions(), &reader, nullptr), "opening a file");
    rocksdb::FSReadRequest requests[7];
    const uint64_t offsets[] = {0, 1, 15, 16, 4095, 8191, 8950};
    for (size_t i = 0; i < 7; i++) {
        Ok(reader->Read(offsets[i], 50, io, &piece, scratch, nullptr), "reading");
        CHECK(piece == std::string(50, 'y'), "what is at %llu", static_cast<unsigned long long>(offsets[i]));
        requests[i].offset = offsets[i];
        requests[i].len = 50;
        requests[i].scratch = scratch + 100 * i;
    }
    Ok(reader->MultiRead(requests, 7, io, nullptr), "reading pieces");
    for (const rocksdb::FSReadRequest &request : requests) {
        CHECK(request.status.ok() && request.result == std::string(50, 'y'), "one of the pieces");
    }
    if (rocksdb::FileSystem::Default()->NewRandomAccessFile(b, direct, &reader, nullptr).ok()) {
        Ok(files->NewRandomAccessFile(b, direct, &reader, nullptr), "opening a file");
        CHECK(reader->use_direct_io(), "direct reads");
        Ok(reader->Read(4096, 8192, io, &piece, scratch, nullptr), "reading");
        CHECK(piece == std::string(9000 - 4096, 'y'), "%zu bytes, directly", piece.size());
    } else {
        std::printf("skipped: direct reads, which the folder's file system doesn't have\n");
    }
    for (const FileOptions &options : {FileOptions(), direct}) {
        Ok(files->NewSequentialFile(b, options, &sequential, nullptr), "opening a file");
        Ok(sequential->Skip(8990), "skipping");
        Ok(sequential->Read(100, io, &piece, scratch, nullptr), "reading");
        CHECK(piece == std::string(10, 'y'), "%zu bytes at the end", piece.size());
    }
    std::vector<rocksdb::FileAttributes> children;
    Ok(files->GetChildrenFileAttributes(folder, io, &children, nullptr), "listing");
    for (const rocksdb::FileAttributes &child : children) {
        CHECK(child.name != "b" || child.size_bytes == 9000, "%llu bytes",
              static_cast<unsigned long long>(child.size_bytes));
    }
    Done("a file is read at any byte");

    // Damage.
    const std::string whole = Raw(b);
    auto damaged = [&](std::vector<size_t> places, size_t len) {
        std::string raw = whole.substr(0, len);
        for (size_t place : places) raw[place] ^= 1;
        std::ofstream(b, std::ios::binary | std::ios::trunc) << raw;
        return files->NewSequentialFile(b, FileOptions(), &sequential, nullptr);
    };
    Ok(damaged({100}, whole.size()), "one copy of the prefix damaged");
    Ok(damaged({4196}, whole.size()), "the other copy of the prefix damaged");
    CHECK(damaged({100, 4196}, whole.size()).IsCorruption(), "both copies of the prefix damaged");
    for (size_t len : {size_t(0), size_t(4096), size_t(ATREST_FILE_PREFIX_SIZE - 1), size_t(ATREST_FILE_PREFIX_SIZE)}) {
        Ok(damaged({}, len), "a file without data");
        Ok(sequential->Read(100, io, &piece, scratch, nullptr), "reading");
        Ok(files->GetFileSize(b, io, &size, nullptr), "asking for a size");
        CHECK(piece.empty() && size == 0, "%zu bytes of a file of %zu", piece.size(), len);
        Ok(files->ReopenWritableFile(b, FileOptions(), &file, nullptr), "opening a file again");
        CHECK(file->GetFileSize(io, nullptr) == 0, "its size");
        CHECK(Raw(b).size() == ATREST_FILE_PREFIX_SIZE, "its prefix");
    }
    Done("a damaged prefix is found at open, one damaged copy is no harm, and a prefix half written no data");
}
