// Use and misuse of stores of fleets: a file, and where ATREST_FLEET_URL names an empty store that hosts share, that one.
#include "misuse_managed.h"

static int released;

static void release(void *user)
{
    ++*(int *)user;
}

static atrest_status no_secret(void *user, const char *name, uint8_t *secret, size_t cap, size_t *secret_len)
{
    (void)user, (void)secret, (void)secret_len;
    CHECK(strlen(name) > 5 && cap == ATREST_SECRET_MAX);
    return ATREST_ERR_NOT_FOUND;
}

// What a list has told.
static struct {
    int calls;
    int stop_after;
    atrest_host host;
    atrest_attachment attachment;
    char name[80], by[80], id[80], promised[80];
} told;

static void forget(int stop_after)
{
    memset(&told, 0, sizeof told);
    told.stop_after = stop_after;
}

static void copy(char *to, const char *from)
{
    snprintf(to, 80, "%s", from ? from : "-");
}

static atrest_status tell_host(void *user, const atrest_host *host)
{
    CHECK(user == &told);
    CHECK(host->struct_size == sizeof *host && strlen(host->run) == ATREST_ID_SIZE - 1 && host->reserved == 0);
    told.host = *host;
    copy(told.name, host->name);
    return ++told.calls == told.stop_after ? 4711 : ATREST_OK;
}

static atrest_status tell_attachment(void *user, const atrest_attachment *attachment)
{
    CHECK(user == &told);
    CHECK(attachment->struct_size == sizeof *attachment && attachment->fault == NULL && attachment->reserved == 0);
    told.attachment = *attachment;
    copy(told.name, attachment->name);
    copy(told.by, attachment->host);
    copy(told.id, attachment->id);
    copy(told.promised, attachment->promised);
    return ++told.calls == told.stop_after ? 4711 : ATREST_OK;
}

static atrest_host_options host_named(const char *name)
{
    atrest_host_options host = ATREST_HOST_OPTIONS_INIT;
    host.name = name;
    return host;
}

static atrest_fleet_store *file_named(const char *name)
{
    char url[4200];
    atrest_fleet_store *store;
    snprintf(url, sizeof url, "file:%s/%s", folder, name);
    OK(atrest_fleet_store_from_url(url, NULL, &store));
    return store;
}

static void urls(void)
{
    atrest_vault_url_options options = ATREST_VAULT_URL_OPTIONS_INIT;
    atrest_fleet_store *store;
    static const char *const BAD[] = {"",
                                      "fleet.redb",
                                      "file:",
                                      "file://host/s3cret",
                                      "mysql://root:s3cret@host/x",
                                      "postgres://root:s3cret@host/x",
                                      "postgres://host/x?password=s3cret",
                                      "postgres://host/x?standby=s3cret",
                                      "etcd://root:s3cret@host",
                                      "etcd://",
                                      "etcd://a,,b/s3cret",
                                      "etcd+http://far.example/s3cret",
                                      "etcd://host?s3cret=1"};
#define OPENS(wanted, url, options) NO_HANDLE(atrest_fleet_store, wanted, atrest_fleet_store_from_url(url, options, &out))
    options.user = &released;
    options.release = release;
    options.secret = no_secret;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        OPENS(ATREST_ERR_INVALID_OPTION, BAD[i], NULL);
        CHECK(strstr(atrest_last_error_message(), "s3cret") == NULL);
        OPENS(ATREST_ERR_INVALID_OPTION, BAD[i], &options);
        CHECK(released == 0);
    }
    OPENS(ATREST_ERR_NULL_ARGUMENT, NULL, NULL);
    OPENS(ATREST_ERR_NOT_UTF8, BAD_UTF8, NULL);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_fleet_store_from_url("file:x", NULL, NULL));
    options.struct_size++;
    OPENS(ATREST_ERR_STRUCT_SIZE, "file:x", &options);
    options.struct_size--;
    CHECK(released == 0);
    OK(atrest_fleet_store_from_url("file:x", &options, &store));
    // No secret of it is needed any more.
    CHECK(released == 1);
    atrest_fleet_store_free(store);
    CHECK(released == 1);
    atrest_fleet_store_free(NULL);
#undef OPENS
}

// What every store does, with the host's options of one that hosts share.
static void any_store(atrest_fleet_store *store, uint32_t shared)
{
    atrest_disk_service_options options = setup(), bad = options;
    atrest_host_options host = host_named("one"), wrong;
    uint32_t number = 77;
    uint64_t records = 77;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_fleet_store_is_shared(NULL, &number));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_fleet_store_is_shared(store, NULL));
    IS(ATREST_ERR_INVALID_HANDLE, atrest_fleet_store_is_shared(PASSED_AS(atrest_fleet_store, backend), &number));
    CHECK(number == 77);
    OK(atrest_fleet_store_is_shared(store, &number));
    CHECK(number == shared);
#define OPENS(wanted, store, host, options)                                                                              \
    NO_HANDLE(atrest_disk_service, wanted, atrest_fleet_store_open_service(store, host, options, &out))
    OPENS(ATREST_ERR_NULL_ARGUMENT, NULL, &host, &options);
    OPENS(ATREST_ERR_NULL_ARGUMENT, store, &host, NULL);
    OPENS(ATREST_ERR_INVALID_HANDLE, PASSED_AS(atrest_fleet_store, vaults), &host, &options);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_fleet_store_open_service(store, &host, &options, NULL));
    bad.platform_key = NULL;
    OPENS(ATREST_ERR_NULL_ARGUMENT, store, &host, &bad);
    bad = options;
    bad.struct_size--;
    OPENS(ATREST_ERR_STRUCT_SIZE, store, &host, &bad);
    wrong = host;
    wrong.struct_size--;
    OPENS(ATREST_ERR_STRUCT_SIZE, store, &wrong, &options);
    wrong = host;
    wrong.name = NULL;
    OPENS(ATREST_ERR_NULL_ARGUMENT, store, &wrong, &options);
    wrong.name = BAD_UTF8;
    OPENS(ATREST_ERR_NOT_UTF8, store, &wrong, &options);
    wrong = host;
    wrong.renews_by_hand = 2;
    OPENS(ATREST_ERR_BAD_ENUM, store, &wrong, &options);
    if (shared) {
        OPENS(ATREST_ERR_NULL_ARGUMENT, store, NULL, &options);
        wrong = host_named("a/b");
        OPENS(ATREST_ERR_INVALID_NAME, store, &wrong, &options);
        wrong = host;
        wrong.lease_ms = 1;
        OPENS(ATREST_ERR_INVALID_OPTION, store, &wrong, &options);
        wrong.lease_ms = UINT64_MAX;
        OPENS(ATREST_ERR_INVALID_OPTION, store, &wrong, &options);
    }
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_fleet_store_hosts(store, NULL, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_fleet_store_attachments(store, NULL, 10, NULL, NULL));
    forget(0);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_fleet_store_hosts(NULL, tell_host, &told));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_fleet_store_attachments(NULL, NULL, 10, tell_attachment, &told));
    IS(ATREST_ERR_INVALID_HANDLE, atrest_fleet_store_hosts(PASSED_AS(atrest_fleet_store, vaults), tell_host, &told));
    IS(ATREST_ERR_NOT_UTF8, atrest_fleet_store_attachments(store, BAD_UTF8, 10, tell_attachment, &told));
    IS(ATREST_ERR_INVALID_OPTION, atrest_fleet_store_attachments(store, NULL, 0, tell_attachment, &told));
    IS(ATREST_ERR_INVALID_OPTION, atrest_fleet_store_attachments(store, NULL, 1001, tell_attachment, &told));
    CHECK(told.calls == 0);
    atrest_store_check store_is = ATREST_STORE_CHECK_INIT;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_fleet_store_check(NULL, NULL, NULL, &store_is));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_fleet_store_check(store, NULL, NULL, NULL));
    store_is.struct_size++;
    IS(ATREST_ERR_STRUCT_SIZE, atrest_fleet_store_check(store, NULL, NULL, &store_is));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_fleet_store_copy_to(NULL, store, &records));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_fleet_store_copy_to(store, NULL, &records));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_fleet_store_copy_to(store, store, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_fleet_store_reopen_moved(NULL));
    CHECK(records == 77);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_renew_host_lease(NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_hand_over(NULL, "a", "two"));
#undef OPENS
}

// A service on a file has no hosts, and is alone on it.
static void on_a_file(void)
{
    atrest_fleet_store *store = file_named("fleet.redb"), *copied = file_named("copied.redb");
    atrest_disk_service_options options = setup();
    atrest_store_check store_is = ATREST_STORE_CHECK_INIT;
    uint64_t records = 77;
    int defects = 0;
    forget(0);
    any_store(store, 0);
    IS(ATREST_ERR_NOT_FOUND, atrest_fleet_store_check(store, NULL, NULL, &store_is));
    IS(ATREST_ERR_NOT_FOUND, atrest_fleet_store_copy_to(store, copied, &records));
    IS(ATREST_ERR_NOT_FOUND, atrest_fleet_store_reopen_moved(store));
    OK(atrest_fleet_store_open_service(store, NULL, &options, &service));
    atrest_new_disk disk = new_disk("web", NULL);
    OK(atrest_disk_service_create_disk(service, &disk));
    IS(ATREST_ERR_INVALID_OPTION, atrest_disk_service_renew_host_lease(service));
    IS(ATREST_ERR_INVALID_OPTION, atrest_disk_service_hand_over(service, "web", "two"));
    IS(ATREST_ERR_INVALID_OPTION, atrest_fleet_store_hosts(store, tell_host, &told));
    IS(ATREST_ERR_INVALID_OPTION, atrest_fleet_store_attachments(store, NULL, 10, tell_attachment, &told));
    NO_HANDLE(atrest_disk_service, ATREST_ERR_BUSY, atrest_fleet_store_open_service(store, NULL, &options, &out));
    IS(ATREST_ERR_BUSY, atrest_fleet_store_check(store, NULL, NULL, &store_is));
    IS(ATREST_ERR_BUSY, atrest_fleet_store_copy_to(store, copied, &records));
    CHECK(records == 77);
    IS(ATREST_ERR_BUSY, atrest_fleet_store_reopen_moved(store));
    atrest_disk_service_free(service);
    OK(atrest_fleet_store_check(store, stop, &defects, &store_is));
    CHECK(store_is.resources == 1 && store_is.defects == 0 && defects == 0);
    OK(atrest_fleet_store_copy_to(store, copied, &records));
    CHECK(records >= 2 && records < 10);
    // It was moved. Nobody has used the other one yet, so it is taken back, and moved again.
    IS(ATREST_ERR_IO, atrest_fleet_store_copy_to(store, copied, &records));
    NO_HANDLE(atrest_disk_service, ATREST_ERR_IO, atrest_fleet_store_open_service(store, NULL, &options, &out));
    OK(atrest_fleet_store_reopen_moved(store));
    OK(atrest_fleet_store_reopen_moved(store));
    OK(atrest_fleet_store_open_service(store, NULL, &options, &service));
    described(ATREST_RESOURCE_DISK, "web");
    atrest_disk_service_free(service);
    atrest_fleet_store *again = file_named("again.redb");
    OK(atrest_fleet_store_copy_to(store, again, &records));
    atrest_fleet_store_free(again);
    OK(atrest_fleet_store_open_service(copied, NULL, &options, &service));
    described(ATREST_RESOURCE_DISK, "web");
    OK(atrest_disk_service_delete(service, ATREST_RESOURCE_DISK, "web"));
    atrest_disk_service_free(service);
    atrest_fleet_store_free(copied);
    atrest_fleet_store_free(store);
    IS(ATREST_ERR_INVALID_HANDLE, atrest_fleet_store_hosts(store, tell_host, &told));
}

// Two hosts in this process, on a store that they share.
static void on_an_engine(const char *url)
{
    atrest_disk_service_options options = setup();
    atrest_host_options one = host_named("one"), two = host_named("two");
    atrest_fleet_store *store, *file = file_named("back.redb");
    atrest_disk_service *first, *second;
    atrest_disk *disk, *taken;
    unsigned char sector[512] = "handed over", read[512] = "";
    char id[80];
    uint64_t records;
    // The hosts' leases are on the clock of the system.
    options.clock = NULL;
    forget(0);
    OK(atrest_fleet_store_from_url(url, NULL, &store));
    any_store(store, 1);
    two.renews_by_hand = 1;
    OK(atrest_fleet_store_hosts(store, tell_host, &told));
    CHECK(told.calls == 0);
    OK(atrest_fleet_store_open_service(store, &one, &options, &first));
    OK(atrest_fleet_store_open_service(store, &two, &options, &second));
    OK(atrest_fleet_store_hosts(store, tell_host, &told));
    CHECK(told.calls == 2 && strcmp(told.name, "two") == 0);
    CHECK(told.host.lease_ms == 60000 && told.host.state == ATREST_LEASE_UNKNOWN && told.host.renewals == 0);
    OK(atrest_disk_service_renew_host_lease(second));
    OK(atrest_fleet_store_hosts(store, tell_host, &told));
    CHECK(told.host.state == ATREST_LEASE_LIVE && told.host.renewals == 1 && told.host.still_ms < 60000);
    forget(1);
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_fleet_store_hosts(store, tell_host, &told));
    CHECK(told.calls == 1);

    atrest_new_disk wanted = new_disk("web", NULL);
    OK(atrest_disk_service_create_disk(first, &wanted));
    forget(0);
    OK(atrest_fleet_store_attachments(store, NULL, 10, tell_attachment, &told));
    CHECK(told.calls == 0);
    OK(atrest_disk_service_open_disk(first, "web", &disk));
    OK(atrest_disk_write_at(disk, 0, sector, sizeof sector));
    OK(atrest_fleet_store_attachments(store, NULL, 10, tell_attachment, &told));
    CHECK(told.calls == 1 && told.attachment.state == ATREST_ATTACHMENT_OPEN && told.attachment.unfenced == 0);
    CHECK(told.attachment.kind == ATREST_RESOURCE_DISK && strcmp(told.name, "web") == 0 && strcmp(told.by, "one") == 0);
    copy(id, told.id);
    OK(atrest_fleet_store_attachments(store, id, 10, tell_attachment, &told));
    CHECK(told.calls == 1);
    told.stop_after = 2;
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_fleet_store_attachments(store, NULL, 10, tell_attachment, &told));
    forget(0);
    NO_HANDLE(atrest_disk, ATREST_ERR_BUSY, atrest_disk_service_open_disk(second, "web", &out));
    CHECK(strstr(atrest_last_error_message(), "\"one\"") != NULL);
    IS(ATREST_ERR_BUSY, atrest_fleet_store_copy_to(store, file, &records));

    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_hand_over(first, NULL, "two"));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_hand_over(first, "web", NULL));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_hand_over(first, "none", "two"));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_hand_over(first, "web", "nobody"));
    OK(atrest_disk_service_hand_over(first, "web", "two"));
    IS(ATREST_ERR_DISK_SUSPENDED, atrest_disk_write_at(disk, 0, sector, sizeof sector));
    OK(atrest_fleet_store_attachments(store, NULL, 10, tell_attachment, &told));
    CHECK(told.attachment.state == ATREST_ATTACHMENT_PROMISED && strcmp(told.promised, "two") == 0);
    CHECK(strcmp(told.by, "-") == 0 && told.attachment.run == NULL);
    OK(atrest_disk_service_open_disk(second, "web", &taken));
    OK(atrest_disk_read_at(taken, 0, read, sizeof read));
    CHECK(memcmp(read, sector, sizeof read) == 0);
    atrest_disk_free(disk);
    atrest_disk_free(taken);
    atrest_disk_service_free(first);
    atrest_disk_service_free(second);

    // Nobody is there any more: it moves to a file.
    forget(0);
    OK(atrest_fleet_store_hosts(store, tell_host, &told));
    CHECK(told.calls == 0);
    atrest_store_check store_is = ATREST_STORE_CHECK_INIT;
    OK(atrest_fleet_store_check(store, NULL, NULL, &store_is));
    CHECK(store_is.resources == 1 && store_is.defects == 0);
    OK(atrest_fleet_store_copy_to(store, file, &records));
    OK(atrest_fleet_store_open_service(file, NULL, &options, &service));
    atrest_resource_info info = ATREST_RESOURCE_INFO_INIT;
    OK(atrest_disk_service_resource(service, ATREST_RESOURCE_DISK, "web", &info));
    CHECK(info.size == wanted.size && strlen(info.id) == strlen(id));
    atrest_disk_service_free(service);
    atrest_fleet_store_free(file);
    atrest_fleet_store_free(store);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    urls();
    on_a_file();
    if (getenv("ATREST_FLEET_URL"))
        on_an_engine(getenv("ATREST_FLEET_URL"));
    atrest_disk_backend_free(backend);
    atrest_vault_directory_free(vaults);
    atrest_vault_free(contoso);
    atrest_vault_free(platform);
    atrest_clock_free(the_clock);
    printf("%d checks passed\n", passed);
    return 0;
}
