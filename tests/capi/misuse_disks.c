// Use and misuse of managed disks, snapshots and images: made, shared by sets, copied, rotated, revoked.
#include "misuse_managed.h"

// What engines need, on two handles of one disk.
static void engines(atrest_disk *disk, atrest_disk *other)
{
    unsigned char plain[1024], cipher[1024], back[1024];
    uint64_t at = 77, end = 64 << 10;
    memset(plain, 9, sizeof plain);
    memset(cipher, 9, sizeof cipher);
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_disk_write_in_place(NULL, 0, bytes, 512));
    NO_BYTES(ATREST_ERR_OUT_OF_BOUNDS, atrest_disk_write_in_place(disk, end, bytes, 512));
    OK(atrest_disk_write_in_place(disk, 8192, cipher, 1024));
    CHECK(memcmp(cipher, plain, 1024) != 0);
    atrest_segment two[2] = {{back, 512}, {back + 512, 512}}, twice[2] = {{bytes, 512}, {bytes + 100, 512}};
    NO_BYTES(ATREST_ERR_OVERLAP, atrest_disk_read_vectored_at(other, 8192, twice, 2));
    IS(ATREST_ERR_OUT_OF_BOUNDS, atrest_disk_read_vectored_at(other, end - 512, two, 2));
    IS(ATREST_ERR_OUT_OF_BOUNDS, atrest_disk_write_vectored_at(other, end - 512, two, 2));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_read_vectored_at(other, 8192, NULL, 2));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_write_vectored_at(NULL, 8192, two, 2));
    OK(atrest_disk_read_vectored_at(other, 8192, two, 2));
    CHECK(memcmp(back, plain, 1024) == 0);
    memset(back, 8, sizeof back);
    OK(atrest_disk_write_vectored_at(other, 8192, two, 2));
    memset(back, 0, sizeof back);
    OK(atrest_disk_read_at(disk, 8192, back, 1024));
    CHECK(back[0] == 8 && back[1023] == 8);

    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_begin_read(NULL, 0, 512, &at));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_begin_read(disk, 0, 512, NULL));
    IS(ATREST_ERR_OUT_OF_BOUNDS, atrest_disk_begin_read(disk, end, 512, &at));
    NO_BYTES(ATREST_ERR_MISALIGNED, atrest_disk_complete_read(disk, 0, bytes, 100));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_disk_begin_write(disk, 0, NULL, 512, &at));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_disk_begin_write(disk, 0, bytes, 512, NULL));
    NO_BYTES(ATREST_ERR_OVERLAP, atrest_disk_begin_write_from(disk, 0, bytes + 1, bytes, 512, &at));
    NO_BYTES(ATREST_ERR_OUT_OF_BOUNDS, atrest_disk_begin_write_from(disk, end, plain, bytes, 512, &at));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_complete_write(NULL));
    IS(ATREST_ERR_INVALID_OPTION, atrest_disk_complete_write(disk));
    CHECK(at == 77);
    // The data of a disk of one layer is behind its header of 1 MiB.
    OK(atrest_disk_begin_write_from(disk, 8192, plain, cipher, 1024, &at));
    CHECK(at == (1 << 20) + 8192);
    memcpy(back, plain, sizeof back);
    OK(atrest_disk_begin_write(disk, 8192, back, 1024, &at));
    CHECK(memcmp(back, cipher, 1024) == 0);
    OK(atrest_disk_complete_write(disk));
    IS(ATREST_ERR_INVALID_OPTION, atrest_disk_complete_write(other));
    OK(atrest_disk_complete_write(disk));
    IS(ATREST_ERR_INVALID_OPTION, atrest_disk_complete_write(disk));
    at = 0;
    OK(atrest_disk_begin_read(other, 8192, 1024, &at));
    CHECK(at == (1 << 20) + 8192);
    OK(atrest_disk_complete_read(other, 8192, back, 1024));
    CHECK(memcmp(back, plain, 1024) == 0);
}

// Ranges without a buffer, on two handles of one disk of a service that allows no discards.
static void ranges(atrest_disk *disk, atrest_disk *other)
{
    unsigned char plain[1024], back[1024];
    uint64_t end = 64 << 10;
    uint32_t says = 77;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_discards(NULL, &says));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_discards(disk, NULL));
    CHECK(says == 77);
    OK(atrest_disk_discards(disk, &says));
    CHECK(says == 0);
#define BAD_RANGE(wanted, disk, offset, len)                                                        \
    do {                                                                                            \
        IS(wanted, atrest_disk_write_zeroes(disk, offset, len));                                    \
        IS(wanted, atrest_disk_discard(disk, offset, len));                                         \
    } while (0)
    BAD_RANGE(ATREST_ERR_NULL_ARGUMENT, NULL, 0, 512);
    BAD_RANGE(ATREST_ERR_MISALIGNED, disk, 1, 512);
    BAD_RANGE(ATREST_ERR_MISALIGNED, disk, 0, UINT64_MAX);
    BAD_RANGE(ATREST_ERR_OUT_OF_BOUNDS, disk, end - 512, 1024);
    BAD_RANGE(ATREST_ERR_OUT_OF_BOUNDS, disk, 512, UINT64_MAX - 511);
    memset(plain, 5, sizeof plain);
    OK(atrest_disk_write_at(disk, 512, plain, 1024));
    OK(atrest_disk_write_zeroes(other, 512, 512));
    OK(atrest_disk_discard(other, 512, 1024));
    memset(plain, 0, 512);
    OK(atrest_disk_read_at(disk, 512, back, 1024));
    CHECK(memcmp(back, plain, 1024) == 0);
}

static void disks(void)
{
    atrest_new_disk disk = new_disk("a", NULL), bad;
    atrest_resource_info info = ATREST_RESOURCE_INFO_INIT;
    atrest_report report = ATREST_REPORT_INIT;
    char names[300] = "", sectors[8192];
    int calls = 0;
    make_set("s");
#define CREATE(member, value) (bad = disk, bad.member = value, atrest_disk_service_create_disk(service, &bad))
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_create_disk(NULL, &disk));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_create_disk(service, NULL));
    IS(ATREST_ERR_STRUCT_SIZE, CREATE(struct_size, 0));
    IS(ATREST_ERR_NULL_ARGUMENT, CREATE(name, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, CREATE(region, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, CREATE(subscription, NULL));
    IS(ATREST_ERR_INVALID_NAME, CREATE(name, "a/b"));
    IS(ATREST_ERR_NOT_UTF8, CREATE(region, BAD_UTF8));
    IS(ATREST_ERR_INVALID_OPTION, CREATE(size, 0));
    IS(ATREST_ERR_INVALID_OPTION, CREATE(size, 1000));
    IS(ATREST_ERR_INVALID_OPTION, CREATE(size, UINT64_MAX & ~511ull));
    IS(ATREST_ERR_SECTOR_SIZE, CREATE(sector_size, 1024));
    IS(ATREST_ERR_SECTOR_SIZE, CREATE(sector_size, UINT32_MAX));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, CREATE(set, "t"));
    bad = new_disk("a", "s");
    bad.region = "south";
    FORBIDDEN("18", atrest_disk_service_create_disk(service, &bad));
    bad = new_disk("a", "s");
    bad.subscription = "two";
    FORBIDDEN("47", atrest_disk_service_create_disk(service, &bad));
    OK(atrest_disk_service_create_disk(service, &disk));
    IS(ATREST_ERR_RESOURCE_EXISTS, atrest_disk_service_create_disk(service, &disk));

#define DESCRIBE(kind, name, info) atrest_disk_service_resource(service, kind, name, info)
    IS(ATREST_ERR_BAD_ENUM, DESCRIBE(0, "a", &info));
    IS(ATREST_ERR_BAD_ENUM, DESCRIBE(4, "a", &info));
    IS(ATREST_ERR_BAD_ENUM, DESCRIBE(256 + ATREST_RESOURCE_DISK, "a", &info));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, DESCRIBE(ATREST_RESOURCE_SNAPSHOT, "a", &info));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, DESCRIBE(ATREST_RESOURCE_DISK, "", &info));
    IS(ATREST_ERR_NULL_ARGUMENT, DESCRIBE(ATREST_RESOURCE_DISK, NULL, &info));
    IS(ATREST_ERR_NULL_ARGUMENT, DESCRIBE(ATREST_RESOURCE_DISK, "a", NULL));
    info.struct_size = 0;
    IS(ATREST_ERR_STRUCT_SIZE, DESCRIBE(ATREST_RESOURCE_DISK, "a", &info));
    CHECK(info.size == 0 && info.id[0] == 0);
    info = described(ATREST_RESOURCE_DISK, "a");
    CHECK(info.size == 64 << 10 && info.sector_size == 512 && info.encryption_type == ATREST_PLATFORM_KEY);
    CHECK(!info.joining && !info.guest_encrypted && !info.incremental && !info.set[0]);

#define JSON(kind, cap) atrest_disk_service_resource_json(service, kind, "a", TEXT, cap, &len)
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, JSON(ATREST_RESOURCE_DISK, 100));
    NO_BYTES(ATREST_ERR_BAD_ENUM, JSON(9, sizeof bytes));
    NO_BYTES(ATREST_ERR_NO_SUCH_RESOURCE, JSON(ATREST_RESOURCE_IMAGE, sizeof bytes));
    OK(JSON(ATREST_RESOURCE_DISK, sizeof bytes));
    CHECK(strlen(TEXT) == len && strstr(TEXT, info.id) && strstr(TEXT, "\"kind\": \"disk\""));
    NO_BYTES(ATREST_ERR_BAD_ENUM, atrest_disk_service_report_json(service, 9, "a", TEXT, sizeof bytes, &len));
    IS(ATREST_ERR_BAD_ENUM, atrest_disk_service_report(service, 9, "a", &report));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_report(service, 1, "a", NULL));
    CHECK(report.status == 0 && report.access == 0);
    OK(atrest_disk_service_report(service, ATREST_RESOURCE_DISK, "a", &report));
    CHECK(report.status == ATREST_PROTECTION_FINISHED && report.access == ATREST_ACCESS_CLOSED);

    atrest_disk *open, *other;
    NO_HANDLE(atrest_disk, ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_open_disk(service, "b", &out));
    NO_HANDLE(atrest_disk, ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_open_disk(service, NULL, &out));
    NO_HANDLE(atrest_disk, ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_open_disk(NULL, "a", &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_open_disk(service, "a", NULL));
    OK(atrest_disk_service_open_disk(service, "a", &open));
    OK(atrest_disk_service_open_disk(service, "a", &other));
    OK(atrest_disk_service_report(service, ATREST_RESOURCE_DISK, "a", &report));
    CHECK(report.access == ATREST_ACCESS_USABLE);
    memset(sectors, 7, sizeof sectors);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_write_at(NULL, 0, sectors, 512));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_write_at(open, 0, NULL, 512));
    IS(ATREST_ERR_MISALIGNED, atrest_disk_write_at(open, 0, sectors, 100));
    IS(ATREST_ERR_MISALIGNED, atrest_disk_write_at(open, 5, sectors, 512));
    IS(ATREST_ERR_OUT_OF_BOUNDS, atrest_disk_write_at(open, 64 << 10, sectors, 512));
    IS(ATREST_ERR_OUT_OF_BOUNDS, atrest_disk_write_at(open, ~511ull, sectors, 512));
    IS(ATREST_ERR_LENGTH, atrest_disk_write_at(open, 0, sectors, SIZE_MAX));
    OK(atrest_disk_write_at(open, 0, NULL, 0));
    OK(atrest_disk_write_at(open, 4096, sectors, sizeof sectors));
    OK(atrest_disk_sync(open));
    NO_BYTES(ATREST_ERR_MISALIGNED, atrest_disk_read_at(other, 0, bytes, 100));
    NO_BYTES(ATREST_ERR_OUT_OF_BOUNDS, atrest_disk_read_at(other, 64 << 10, bytes, 512));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_disk_read_at(other, 0, NULL, 512));
    OK(atrest_disk_read_at(other, 4096, bytes, 4096));
    CHECK(memcmp(bytes, sectors, 4096) == 0);
    engines(open, other);
    ranges(open, other);
    uint64_t size = 0;
    uint32_t number = 77;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_size(open, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_sector_size(NULL, &number));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_is_suspended(open, NULL));
    IS(ATREST_ERR_INVALID_HANDLE, atrest_disk_is_suspended(PASSED_AS(atrest_disk, service), &number));
    CHECK(number == 77);
    OK(atrest_disk_size(open, &size));
    OK(atrest_disk_sector_size(open, &number));
    CHECK(size == 64 << 10 && number == 512);
    OK(atrest_disk_is_suspended(open, &number));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_disk_name(open, TEXT, 1, &len));
    OK(atrest_disk_name(open, TEXT, 2, &len));
    CHECK(number == 0 && len == 1 && strcmp(TEXT, "a") == 0);
    IS(ATREST_ERR_BUSY, atrest_disk_service_delete(service, ATREST_RESOURCE_DISK, "a"));
    atrest_disk_free(open);
    IS(ATREST_ERR_INVALID_HANDLE, atrest_disk_sync(open));
    atrest_disk_free(open);
    IS(ATREST_ERR_BUSY, atrest_disk_service_delete(service, ATREST_RESOURCE_DISK, "a"));
    atrest_disk_free(other);

    IS(ATREST_ERR_BAD_ENUM, atrest_disk_service_names(service, 0, add_name, names));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_names(service, ATREST_RESOURCE_DISK, NULL, names));
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_disk_service_names(service, ATREST_RESOURCE_DISK, stop, &calls));
    OK(atrest_disk_service_names(service, ATREST_RESOURCE_DISK, add_name, names));
    CHECK(calls == 1 && strcmp(names, "a;") == 0);
}

static void membership(void)
{
    atrest_new_set set = new_set("double");
    atrest_new_disk disk = new_disk("guest", NULL);
    char members[200] = "";
    int calls = 0;
    set.encryption_type = ATREST_PLATFORM_AND_CUSTOMER_KEYS;
    OK(atrest_disk_service_create_set(service, &set));
#define PUT(kind, name, set) atrest_disk_service_put_into_set(service, kind, name, set)
    IS(ATREST_ERR_BAD_ENUM, PUT(0, "a", "s"));
    IS(ATREST_ERR_NULL_ARGUMENT, PUT(ATREST_RESOURCE_DISK, NULL, "s"));
    IS(ATREST_ERR_NOT_UTF8, PUT(ATREST_RESOURCE_DISK, "a", BAD_UTF8));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, PUT(ATREST_RESOURCE_DISK, "z", "s"));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, PUT(ATREST_RESOURCE_DISK, "a", "t"));
    FORBIDDEN("60", PUT(ATREST_RESOURCE_DISK, "a", "double"));
    OK(PUT(ATREST_RESOURCE_DISK, "a", "s"));
    IS(ATREST_ERR_NULL_ARGUMENT, PUT(ATREST_RESOURCE_DISK, "a", NULL));
    CHECK(strcmp(described(ATREST_RESOURCE_DISK, "a").set, "s") == 0);
    CHECK(described(ATREST_RESOURCE_DISK, "a").encryption_type == ATREST_CUSTOMER_KEY);
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_disk_service_members(service, "s", stop_member, &calls));
    OK(atrest_disk_service_members(service, "s", add_member, members));
    CHECK(calls == 1 && strcmp(members, "1 a;") == 0);
    FORBIDDEN("19", atrest_disk_service_delete_set(service, "s"));
    OK(atrest_disk_service_delete_set(service, "double"));

    OK(atrest_disk_service_create_disk(service, &disk));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_mark_guest_encrypted(service, NULL));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_mark_guest_encrypted(service, "z"));
    FORBIDDEN("52", atrest_disk_service_mark_guest_encrypted(service, "a"));
    OK(atrest_disk_service_mark_guest_encrypted(service, "guest"));
    CHECK(described(ATREST_RESOURCE_DISK, "guest").guest_encrypted == 1);
    FORBIDDEN("52", PUT(ATREST_RESOURCE_DISK, "guest", "s"));

#define MOVE(name, to) atrest_disk_service_move_to_subscription(service, ATREST_RESOURCE_DISK, name, to)
    IS(ATREST_ERR_NULL_ARGUMENT, MOVE("guest", NULL));
    IS(ATREST_ERR_INVALID_NAME, MOVE("guest", "../one"));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, MOVE("z", "two"));
    FORBIDDEN("47", MOVE("a", "two"));
    OK(MOVE("guest", "two"));
    OK(atrest_disk_service_resource_json(service, ATREST_RESOURCE_DISK, "guest", TEXT, sizeof bytes, NULL));
    CHECK(strstr(TEXT, "\"subscription\": \"two\"") != NULL);
    OK(atrest_disk_service_delete(service, ATREST_RESOURCE_DISK, "guest"));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_delete(service, ATREST_RESOURCE_DISK, "guest"));
    IS(ATREST_ERR_BAD_ENUM, atrest_disk_service_delete(service, 9, "a"));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_delete(service, ATREST_RESOURCE_DISK, NULL));
}

static void copies(void)
{
    atrest_new_snapshot snapshot = ATREST_NEW_SNAPSHOT_INIT, bad;
    atrest_new_disk copy = new_copy("copy", NULL);
    int calls = 0;
    snapshot.name = "snap";
    snapshot.disk = "a";
#define SNAPSHOT(member, value)                                                                     \
    (bad = snapshot, bad.member = value, atrest_disk_service_create_snapshot(service, &bad, count, &calls))
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_create_snapshot(service, NULL, NULL, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_create_snapshot(NULL, &snapshot, NULL, NULL));
    IS(ATREST_ERR_STRUCT_SIZE, SNAPSHOT(struct_size, 1000));
    IS(ATREST_ERR_NULL_ARGUMENT, SNAPSHOT(name, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, SNAPSHOT(disk, NULL));
    IS(ATREST_ERR_BAD_ENUM, SNAPSHOT(incremental, 2));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, SNAPSHOT(disk, "z"));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, SNAPSHOT(set, "t"));
    IS(ATREST_ERR_INVALID_NAME, SNAPSHOT(name, "a b"));
    CHECK(calls == 0);
    make_set("other");
    bad = snapshot;
    bad.incremental = 1;
    bad.set = "other";
    FORBIDDEN("45", atrest_disk_service_create_snapshot(service, &bad, NULL, NULL));
    OK(atrest_disk_service_create_snapshot(service, &snapshot, count, &calls));
    CHECK(calls > 0);
    IS(ATREST_ERR_RESOURCE_EXISTS, atrest_disk_service_create_snapshot(service, &snapshot, NULL, NULL));
    const char *increments[] = {"i0", "i1", "i2"};
    for (int i = 0; i < 3; i++) {
        bad.name = increments[i];
        bad.set = NULL;
        OK(atrest_disk_service_create_snapshot(service, &bad, NULL, NULL));
        CHECK(described(ATREST_RESOURCE_SNAPSHOT, increments[i]).incremental == 1);
    }
    OK(atrest_disk_service_delete(service, ATREST_RESOURCE_SNAPSHOT, "i1"));

#define COPY(kind, name, disk) atrest_disk_service_create_disk_from(service, kind, name, disk, count, &calls)
    IS(ATREST_ERR_BAD_ENUM, COPY(77, "snap", &copy));
    IS(ATREST_ERR_NULL_ARGUMENT, COPY(ATREST_RESOURCE_SNAPSHOT, NULL, &copy));
    IS(ATREST_ERR_NULL_ARGUMENT, COPY(ATREST_RESOURCE_SNAPSHOT, "snap", NULL));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, COPY(ATREST_RESOURCE_DISK, "snap", &copy));
    copy.size = 512;
    IS(ATREST_ERR_INVALID_OPTION, COPY(ATREST_RESOURCE_SNAPSHOT, "snap", &copy));
    copy.size = 0;
    copy.sector_size = 512;
    IS(ATREST_ERR_INVALID_OPTION, COPY(ATREST_RESOURCE_SNAPSHOT, "snap", &copy));
    copy = new_copy("a", NULL);
    IS(ATREST_ERR_RESOURCE_EXISTS, COPY(ATREST_RESOURCE_SNAPSHOT, "snap", &copy));
    copy = new_copy("copy", NULL);
    OK(COPY(ATREST_RESOURCE_SNAPSHOT, "i2", &copy));
    CHECK(described(ATREST_RESOURCE_DISK, "copy").encryption_type == ATREST_PLATFORM_KEY);
    CHECK(described(ATREST_RESOURCE_DISK, "copy").size == 64 << 10);
    atrest_disk *disk;
    OK(atrest_disk_service_open_disk(service, "copy", &disk));
    OK(atrest_disk_read_at(disk, 4096, bytes, 4096));
    memset(marked, 7, sizeof marked);
    CHECK(memcmp(bytes, marked, 4096) == 0);
    atrest_disk_free(disk);
}

static void images(void)
{
    const char *disks[] = {"a", "copy"}, *no_disk[] = {"a", NULL}, *regions[] = {"north", "north-2"};
    const char *sets[] = {"s", NULL, "other", NULL}, *not_utf8[] = {BAD_UTF8, NULL};
    atrest_new_image image = ATREST_NEW_IMAGE_INIT, bad;
    char names[400] = "";
    int calls = 0;
    image.name = "image";
    image.disks = disks;
    image.disks_count = 2;
    image.regions = regions;
    image.regions_count = 1;
    image.sets = sets;
    image.sets_count = 2;
#define IMAGE(member, value)                                                                        \
    (bad = image, bad.member = value, atrest_disk_service_create_image(service, &bad, count, &calls))
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_create_image(service, NULL, NULL, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_create_image(NULL, &image, NULL, NULL));
    IS(ATREST_ERR_STRUCT_SIZE, IMAGE(struct_size, 0));
    IS(ATREST_ERR_NULL_ARGUMENT, IMAGE(name, NULL));
    IS(ATREST_ERR_INVALID_NAME, IMAGE(name, "a/b"));
    IS(ATREST_ERR_NULL_ARGUMENT, IMAGE(disks, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, IMAGE(disks, no_disk));
    IS(ATREST_ERR_NOT_UTF8, IMAGE(disks, not_utf8));
    IS(ATREST_ERR_LENGTH, IMAGE(disks_count, SIZE_MAX / 2));
    IS(ATREST_ERR_INVALID_OPTION, IMAGE(disks_count, 0));
    IS(ATREST_ERR_NULL_ARGUMENT, IMAGE(regions, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, IMAGE(regions, no_disk + 1));
    IS(ATREST_ERR_INVALID_OPTION, IMAGE(regions_count, 0));
    IS(ATREST_ERR_NOT_UTF8, IMAGE(sets, not_utf8));
    FORBIDDEN("49", IMAGE(sets_count, 0));
    FORBIDDEN("49", IMAGE(sets_count, 1));
    FORBIDDEN("49", IMAGE(sets_count, 3));
    FORBIDDEN("49", IMAGE(regions_count, 2));
    bad = image;
    bad.sets = NULL;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_create_image(service, &bad, NULL, NULL));
    bad.sets_count = 0;
    FORBIDDEN("50", atrest_disk_service_create_image(service, &bad, NULL, NULL));
    FORBIDDEN("18", IMAGE(regions, regions + 1));
    CHECK(calls == 0);
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_image(service, "image", add_name, names));
    OK(atrest_disk_service_create_image(service, &image, count, &calls));
    CHECK(calls > 0);
    IS(ATREST_ERR_RESOURCE_EXISTS, atrest_disk_service_create_image(service, &image, NULL, NULL));
    bad = image;
    bad.name = "platform-image";
    bad.disks = disks + 1;
    bad.disks_count = 1;
    bad.regions_count = 2;
    bad.sets = NULL;
    bad.sets_count = 0;
    OK(atrest_disk_service_create_image(service, &bad, NULL, NULL));

    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_image(service, NULL, add_name, names));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_image(service, "image", NULL, names));
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_disk_service_image(service, "image", stop, &calls));
    OK(atrest_disk_service_image(service, "image", add_name, names));
    OK(atrest_disk_service_image(service, "platform-image", add_name, names));
    CHECK(strcmp(names, "image/north/0;image/north/1;platform-image/north/0;platform-image/north-2/0;") == 0);
    CHECK(strcmp(described(ATREST_RESOURCE_IMAGE, "image/north/0").set, "s") == 0);
    CHECK(described(ATREST_RESOURCE_IMAGE, "image/north/1").encryption_type == ATREST_PLATFORM_KEY);
    FORBIDDEN("49", atrest_disk_service_delete(service, ATREST_RESOURCE_IMAGE, "image/north/0"));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_delete_image(service, NULL));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_delete_image(service, "image/north/0"));
    OK(atrest_disk_service_delete_image(service, "platform-image"));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_delete_image(service, "platform-image"));
}

static atrest_status see_rotated(void *user, const atrest_rotated *rotated)
{
    CHECK(rotated->struct_size == sizeof *rotated && strcmp(rotated->set, "s") == 0);
    CHECK((rotated->status == ATREST_OK) == (rotated->message == NULL));
    CHECK((rotated->status == ATREST_OK) == (rotated->key_url != NULL));
    if (rotated->key_url)
        CHECK(strcmp(rotated->key_url, KEY("3")) == 0 && rotated->rewrapped == 5);
    *(atrest_status *)user = rotated->status;
    return rotated->status == ATREST_OK ? 4711 : ATREST_OK;
}

static atrest_status see_expiring(void *user, const atrest_expiring_key *key)
{
    CHECK(key->struct_size == sizeof *key && strcmp(key->key_url, KEY("3")) == 0);
    CHECK(key->expires == 1800090000 && strcmp(key->set, "s") == 0 && key->auto_rotation == 1);
    ++*(int *)user;
    return *(int *)user == 1 ? 5 : ATREST_OK;
}

static void rotation(void)
{
    atrest_version_change change = ATREST_VERSION_CHANGE_INIT;
    atrest_set_report report = ATREST_SET_REPORT_INIT;
    uint64_t rewrapped = 77;
    atrest_status seen = 0;
    int calls = 0;
#define ROTATE(set) atrest_disk_service_rotate_set(service, set, count, &calls, &rewrapped)
    IS(ATREST_ERR_NULL_ARGUMENT, ROTATE(NULL));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, ROTATE("t"));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_rotate_set(NULL, "s", NULL, NULL, NULL));
#define SET_KEY(url) atrest_disk_service_change_key(service, "s", url, count, &calls, &rewrapped)
    IS(ATREST_ERR_NULL_ARGUMENT, SET_KEY(NULL));
    IS(ATREST_ERR_INVALID_NAME, SET_KEY("no url"));
    IS(ATREST_ERR_VAULT, SET_KEY("https://nobody/keys/disks/1"));
    FORBIDDEN("16", SET_KEY("https://unprotected/keys/disks/1"));
    CHECK(rewrapped == 77 && calls == 0);

    // A rotation that can't begin blocks nothing: it leaves no rotation error.
    IS(ATREST_ERR_NO_SUCH_KEY, SET_KEY(KEY("2")));
    CHECK(rewrapped == 77 && calls == 0 && described_set("s").rotation_error[0] == 0);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_clear_rotation_error(service, NULL));
    OK(atrest_disk_service_clear_rotation_error(service, "s"));
    OK(ROTATE("s"));
    CHECK(rewrapped == 0 && calls == 5);
    OK(atrest_vault_rotate_key(contoso, "disks", NULL, 0));
    OK(ROTATE("s"));
    CHECK(rewrapped == 5 && calls == 10 && described_set("s").last_key_rotation_timestamp == 1800000000);
    OK(atrest_disk_service_rotate_set(service, "s", NULL, NULL, NULL));

#define ROTATE_PLATFORM atrest_disk_service_rotate_platform(service, count, &calls, &rewrapped)
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_rotate_platform(NULL, NULL, NULL, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_report_platform(service, NULL));
    OK(ROTATE_PLATFORM);
    CHECK(rewrapped == 0);
    OK(atrest_disk_service_report_platform(service, &report));
    CHECK(report.finished == 1 && report.done == report.total);
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_disk_service_report_platform_json(service, TEXT, 3, &len));
    OK(atrest_disk_service_report_platform_json(service, TEXT, sizeof bytes, &len));
    CHECK(strstr(TEXT, "\"waiting\": []") != NULL);
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_metrics_json(NULL, TEXT, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_metrics_json(service, NULL, 10, &len));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_disk_service_metrics_json(service, TEXT, 3, &len));
    static char metrics[1 << 16];
    OK(atrest_disk_service_metrics_json(service, metrics, sizeof metrics, &len));
    CHECK(strlen(metrics) == len && strstr(metrics, "\"rotations\"") != NULL);
    calls = 0;

#define AUTO_ROTATE atrest_disk_service_auto_rotate(service, NULL, see_rotated, &seen)
    OK(atrest_disk_service_set_auto_rotation(service, "s", 1));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_auto_rotate(service, NULL, NULL, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_auto_rotate(NULL, NULL, see_rotated, NULL));
    OK(atrest_vault_rotate_key(contoso, "disks", NULL, 0));
    OK(atrest_vault_revoke_operations(contoso, described_set("s").identity, ATREST_OPERATION_GET));
    OK(AUTO_ROTATE);
    CHECK(seen == ATREST_ERR_ACCESS_DENIED && described_set("s").rotation_error[0] == 0);
    OK(atrest_vault_grant(contoso, described_set("s").identity, ATREST_OPERATION_GET));
    OK(atrest_clock_advance(the_clock, 900));
    IS(ATREST_ERR_CALLBACK_FAILED, AUTO_ROTATE);
    CHECK(seen == ATREST_OK);
    OK(atrest_disk_service_report_set(service, "s", &report));
    CHECK(report.finished == 1 && report.done == 5 && report.total == 5);

    change.changes = ATREST_CHANGE_EXPIRES;
    change.expires = 1800090000;
    OK(atrest_vault_set_version(contoso, KEY("3"), &change));
    calls = 0;
#define EXPIRING(within, each) atrest_disk_service_expiring_keys(service, within, each, &calls)
    IS(ATREST_ERR_NULL_ARGUMENT, EXPIRING(1, NULL));
    OK(EXPIRING(1000, see_expiring));
    CHECK(calls == 0);
    IS(ATREST_ERR_CALLBACK_FAILED, EXPIRING(UINT64_MAX, see_expiring));
    OK(EXPIRING(90000, see_expiring));
    CHECK(calls == 2);
}

// An encrypted volume that becomes a disk.
static void adoption(void)
{
    char image[512];
    strcpy(image, in_folder("guest.img"));
    atrest_kdf kdf = ATREST_KDF_INIT;
    kdf.kind = ATREST_KDF_PBKDF2;
    kdf.hash = ATREST_HASH_SHA256;
    kdf.iterations = 1000;
    atrest_keyslot_options cheap = ATREST_KEYSLOT_OPTIONS_INIT;
    cheap.kdf = &kdf;
    atrest_format_options format = ATREST_FORMAT_OPTIONS_INIT;
    format.keyslot = &cheap;
    format.data_offset = 1 << 20;
    atrest_protector protector = ATREST_PROTECTOR_INIT;
    protector.kind = ATREST_PROTECTOR_PASSPHRASE;
    protector.passphrase = "of the guest";
    protector.passphrase_len = strlen(protector.passphrase);
    atrest_device *device;
    atrest_volume *volume;
    unsigned char data[512];
    memset(data, 7, sizeof data);
    OK(atrest_device_create_file(image, (1 << 20) + 8192, &device));
    OK(atrest_volume_format(device, &protector, &format, &volume));
    OK(atrest_volume_write_at(volume, 512, data, sizeof data));
    OK(atrest_volume_sync(volume));
    atrest_volume_free(volume);
    atrest_device_free(device);

    atrest_new_disk plan = new_copy("adopted", "s");
    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    credential.kind = ATREST_CREDENTIAL_PASSPHRASE;
    credential.passphrase = "wrong";
    credential.passphrase_len = 5;
#define ADOPT(plan, image, by, flags) atrest_disk_service_adopt_disk(service, plan, image, by, flags)
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_adopt_disk(NULL, &plan, image, &credential, 0));
    IS(ATREST_ERR_NULL_ARGUMENT, ADOPT(NULL, image, &credential, 0));
    IS(ATREST_ERR_NULL_ARGUMENT, ADOPT(&plan, NULL, &credential, 0));
    IS(ATREST_ERR_NULL_ARGUMENT, ADOPT(&plan, image, NULL, 0));
    IS(ATREST_ERR_BAD_ENUM, ADOPT(&plan, image, &credential, 4));
    IS(ATREST_ERR_WRONG_PASSPHRASE, ADOPT(&plan, image, &credential, 0));
    IS(ATREST_ERR_NOT_FOUND, ADOPT(&plan, "no such image", &credential, 0));
    credential.passphrase = protector.passphrase;
    credential.passphrase_len = protector.passphrase_len;
    IS(ATREST_ERR_NOT_ALLOWED, ADOPT(&plan, image, &credential, ATREST_ADOPT_GUEST_ENCRYPTED));
    plan.size = 4096;
    IS(ATREST_ERR_INVALID_OPTION, ADOPT(&plan, image, &credential, 0));
    plan.size = 0;
    plan.name = "a";
    IS(ATREST_ERR_RESOURCE_EXISTS, ADOPT(&plan, image, &credential, 0));
    plan.name = "adopted";
    OK(ADOPT(&plan, image, &credential, ATREST_ADOPT_GUEST_ENCRYPTED | ATREST_ADOPT_REENCRYPT));
    atrest_reencryption_progress progress = ATREST_REENCRYPTION_PROGRESS_INIT;
    do {
        OK(atrest_disk_service_reencrypt_step(service, "adopted", 1 << 20, &progress));
    } while (progress.under_way);
    atrest_disk *disk;
    OK(atrest_disk_service_open_disk(service, "adopted", &disk));
    memset(data, 0, sizeof data);
    OK(atrest_disk_read_at(disk, 512, data, sizeof data));
    CHECK(data[0] == 7 && data[511] == 7);
    atrest_disk_free(disk);
    IS(ATREST_ERR_RESOURCE_EXISTS, ADOPT(&plan, image, &credential, 0)); // it is done
    OK(atrest_disk_service_delete(service, ATREST_RESOURCE_DISK, "adopted"));
}

// A new DEK for a disk in use, and a plain image that becomes a disk.
static void reencryption(void)
{
    atrest_reencryption_progress progress = ATREST_REENCRYPTION_PROGRESS_INIT;
    atrest_new_disk plan = new_copy("imported", "s");
    atrest_disk *disk;
    char names[200] = "";
    unsigned char plain[1024];
    uint64_t at = 77;
#define STEP(name) atrest_disk_service_reencrypt_step(service, name, 16 << 10, &progress)
#define IMPORT(plan, image) atrest_disk_service_import_disk(service, plan, image)
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_rekey_disk(NULL, "a"));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_rekey_disk(service, NULL));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_rekey_disk(service, "nobody"));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, STEP("nobody"));
    IS(ATREST_ERR_NULL_ARGUMENT, STEP(NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_reencrypt_step(NULL, "a", 1, NULL));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_reencryption(service, "nobody", &progress));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_reencryption(service, "a", NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_reencrypting(service, NULL, names));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_cancel_reencryption(NULL, "a"));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_cancel_reencryption(service, NULL));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_cancel_reencryption(service, "nobody"));
    IS(ATREST_ERR_INVALID_OPTION, atrest_disk_service_cancel_reencryption(service, "a"));
    progress.struct_size = 0;
    IS(ATREST_ERR_STRUCT_SIZE, STEP("a"));
    IS(ATREST_ERR_STRUCT_SIZE, atrest_disk_service_reencryption(service, "a", &progress));
    progress.struct_size = sizeof progress;
    OK(atrest_disk_service_reencryption(service, "a", &progress));
    CHECK(progress.under_way == 0 && progress.done == 0 && progress.total == 0);

    OK(atrest_disk_service_open_disk(service, "a", &disk));
    OK(atrest_disk_service_rekey_disk(service, "a"));
    IS(ATREST_ERR_BUSY, atrest_disk_service_rekey_disk(service, "a"));
    IS(ATREST_ERR_INVALID_OPTION, atrest_disk_service_cancel_reencryption(service, "a"));
    CHECK(strstr(atrest_last_error_message(), "pauses") != NULL);
    OK(atrest_disk_service_reencryption(service, "a", &progress));
    CHECK(progress.under_way == 1 && progress.done == 0 && progress.total == 64 << 10);
    OK(atrest_disk_service_reencrypting(service, add_name, names));
    CHECK(strcmp(names, "a;") == 0);
    NO_BYTES(ATREST_ERR_BUSY, atrest_disk_begin_write(disk, 0, bytes, 512, &at));
    OK(STEP("a"));
    CHECK(progress.under_way == 1 && progress.done == 16 << 10);
    memset(plain, 5, sizeof plain);
    OK(atrest_disk_write_at(disk, 0, plain, sizeof plain));
    do {
        OK(STEP("a"));
    } while (progress.under_way);
    CHECK(progress.done == progress.total);
    OK(atrest_disk_service_reencryption(service, "a", &progress));
    CHECK(progress.under_way == 0 && progress.done == 64 << 10);
    OK(atrest_disk_read_at(disk, 0, plain, sizeof plain));
    CHECK(plain[0] == 5 && plain[1023] == 5);
    atrest_disk_free(disk);
    OK(atrest_disk_service_reencrypt_step(service, "a", 1, NULL));

    const char *image = in_folder("plain.img");
    FILE *file = fopen(image, "wb");
    CHECK(file != NULL && fseek(file, (1 << 20) - 1, SEEK_SET) == 0 && fputc('x', file) == 'x' && fclose(file) == 0);
    image = in_folder("plain.img");
    IS(ATREST_ERR_NULL_ARGUMENT, IMPORT(NULL, image));
    IS(ATREST_ERR_NULL_ARGUMENT, IMPORT(&plan, NULL));
    IS(ATREST_ERR_NOT_FOUND, IMPORT(&plan, "no such image"));
    plan.size = 4096;
    IS(ATREST_ERR_INVALID_OPTION, IMPORT(&plan, image));
    plan.size = 0;
    plan.name = "a";
    IS(ATREST_ERR_RESOURCE_EXISTS, IMPORT(&plan, image));
    plan.name = "imported";
    OK(IMPORT(&plan, image));
    OK(atrest_disk_service_reencryption(service, "imported", &progress));
    CHECK(progress.under_way == 1 && progress.total == 1 << 20);
    do {
        OK(STEP("imported"));
    } while (progress.under_way);
    OK(atrest_disk_service_open_disk(service, "imported", &disk));
    OK(atrest_disk_read_at(disk, (1 << 20) - 1024, plain, sizeof plain));
    CHECK(plain[1022] == 0 && plain[1023] == 'x');
    atrest_disk_free(disk);
    OK(atrest_disk_service_delete(service, ATREST_RESOURCE_DISK, "imported"));
    adoption();
}

static void revocation_and_order(void)
{
    atrest_disk_service_options options = setup();
    atrest_report report = ATREST_REPORT_INIT;
    atrest_disk *disk;
    uint32_t suspended = 77;
    OK(atrest_disk_service_open_disk(service, "a", &disk));
    OK(atrest_vault_revoke_operations(contoso, described_set("s").identity, ALL_OPERATIONS));
    OK(atrest_disk_read_at(disk, 4096, bytes, 4096));
    OK(atrest_clock_advance(the_clock, 900));
    OK(atrest_disk_service_maintain(service));
    OK(atrest_disk_is_suspended(disk, &suspended));
    CHECK(suspended == 1);
    NO_BYTES(ATREST_ERR_DISK_SUSPENDED, atrest_disk_read_at(disk, 4096, bytes, 4096));
    IS(ATREST_ERR_DISK_SUSPENDED, atrest_disk_write_at(disk, 4096, bytes, 4096));
    uint64_t at = 77;
    NO_BYTES(ATREST_ERR_DISK_SUSPENDED, atrest_disk_complete_read(disk, 4096, bytes, 4096));
    NO_BYTES(ATREST_ERR_DISK_SUSPENDED, atrest_disk_begin_write(disk, 4096, bytes, 4096, &at));
    IS(ATREST_ERR_DISK_SUSPENDED, atrest_disk_begin_read(disk, 4096, 4096, &at));
    CHECK(at == 77);
    IS(ATREST_ERR_DISK_SUSPENDED, atrest_disk_sync(disk));
    CHECK(strstr(atrest_last_error_message(), "grant it") != NULL);
    NO_HANDLE(atrest_disk, ATREST_ERR_DISK_SUSPENDED, atrest_disk_service_open_disk(service, "a", &out));
    OK(atrest_disk_service_report(service, ATREST_RESOURCE_DISK, "a", &report));
    CHECK(report.status == ATREST_PROTECTION_FINISHED && report.access == ATREST_ACCESS_SUSPENDED);
    OK(atrest_vault_grant(contoso, described_set("s").identity, ALL_OPERATIONS));
    OK(atrest_clock_advance(the_clock, 60));
    OK(atrest_disk_read_at(disk, 4096, bytes, 4096));

    // The set loses its identity with its tenant.
    OK(atrest_disk_service_move_set_to_tenant(service, "s", "fabrikam"));
    IS(ATREST_ERR_DISK_SUSPENDED, atrest_disk_sync(disk));
    OK(atrest_vault_grant(contoso, described_set("s").identity, ALL_OPERATIONS));
    OK(atrest_clock_advance(the_clock, 60));
    OK(atrest_disk_sync(disk));

    // Everything is freed except the disk, with the objects that it needs, and the store.
    atrest_disk_service_free(service);
    IS(ATREST_ERR_INVALID_HANDLE, atrest_disk_service_encryption_sets(service, add_name, NULL));
    atrest_disk_service_free(service);
    NO_HANDLE(atrest_disk_service, ATREST_ERR_BUSY, atrest_disk_service_open(in_folder("store"), &options, &out));
    atrest_disk_backend_free(backend);
    atrest_vault_directory_free(vaults);
    atrest_vault_free(platform);
    atrest_vault_free(contoso);
    OK(atrest_clock_advance(the_clock, 3600));
    atrest_clock_free(the_clock);
    memset(marked, 7, sizeof marked);
    OK(atrest_disk_read_at(disk, 4096, bytes, 4096));
    CHECK(memcmp(bytes, marked, 4096) == 0);
    atrest_disk_free(disk);
    NO_HANDLE(atrest_disk_service, ATREST_ERR_INVALID_HANDLE,
              atrest_disk_service_open(in_folder("store"), &options, &out));
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    OK(atrest_vault_directory_add_file(vaults, contoso));
    add_vault("unprotected", "https://unprotected", "north", 0);
    atrest_disk_service_options options = setup();
    OK(atrest_disk_service_open(in_folder("store"), &options, &service));
    disks();
    membership();
    copies();
    images();
    rotation();
    reencryption();
    revocation_and_order();
    printf("%d checks passed\n", passed);
    return 0;
}
